//! Boots a kernel with the serial console on stdout: `boot KERNEL [--bios FILE|none] [--initrd FILE] [--append TEXT]
//! [--memory MIB]`.

use c2w_decoders::riscv64::board::BoardParts;
use c2w_decoders::riscv64::boot::{BootFiles, Firmware, MachineConfig, machine};
use c2w_devices::backend::char::CharBackend;
use c2w_engine::clock::Clock;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Exit;
use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

struct Stdout;
impl CharBackend for Stdout {
    fn read(&mut self, _to: &mut [u8]) -> usize {
        0
    }
    fn has_input(&self) -> bool {
        false
    }
    fn write(&mut self, from: &[u8]) -> usize {
        let mut out = std::io::stdout();
        let _ = out.write_all(from);
        let _ = out.flush();
        from.len()
    }
}

struct HostClock(Instant);
impl Clock for HostClock {
    fn now_ns(&self, _retired: u64) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
    fn skip_to(&mut self, deadline_ns: u64, _retired: u64) {
        let left = deadline_ns.saturating_sub(self.now_ns(0));
        std::thread::sleep(std::time::Duration::from_nanos(left));
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut files = BootFiles::default();
    let mut memory_mib = 256;
    let read = |path: String| std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("an option has a value");
        match arg.as_str() {
            "--bios" => {
                files.firmware = match value().as_str() {
                    "none" => Firmware::None,
                    path => Firmware::File(read(path.into())),
                }
            }
            "--initrd" => files.initrd = Some(read(value())),
            "--append" => files.cmdline = value(),
            "--memory" => memory_mib = value().parse().expect("a number of MiB"),
            _ => files.kernel = Some(read(arg)),
        }
    }
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let start = Instant::now();
    let config = MachineConfig {
        memory_bytes: memory_mib << 20,
        parts: BoardParts { console: Box::new(Stdout), wall_clock: Box::new(wall), virtio: Vec::new() },
        clock: Box::new(HostClock(start)),
        attention: Attention::default(),
        rng_seed: (0..32).collect(),
    };
    let mut machine = machine(&files, config).unwrap_or_else(|error| panic!("{error}"));
    let end = loop {
        match machine.run(100_000) {
            Exit::Budget => {}
            Exit::Waiting { deadline_ns: Some(deadline) } => {
                let retired = machine.cpu.retired;
                machine.cpu.clock.skip_to(deadline, retired);
            }
            Exit::Waiting { deadline_ns: None } => break "stuck in WFI".to_string(),
            Exit::Request(request) => break format!("{request:?}"),
        }
        if start.elapsed().as_secs() > 120 {
            break format!("timeout at {:?} {:?}", machine.cpu.pc, machine.cpu.guest.state);
        }
    };
    let secs = start.elapsed().as_secs_f64();
    let retired = machine.statistics().retired;
    eprintln!("\n{end}; {retired} instructions in {secs:.2} s, {:.2} ns each", secs * 1e9 / retired as f64);
}
