//! c2w's machine in this process, with the devices that `c2w-run` gives it and a second disk.

use crate::assets::{Assets, MEMORY_BYTES};
use crate::guest::{Guest, SHARE_TAG};
use anyhow::{Result, anyhow, bail};
use c2w::console::ConsoleTail;
use c2w::jit::Jit;
use c2w::launch::{LinuxFiles, Parts, linux};
use c2w::vm::{Step, Vm};
use c2w_agent::{Event, PORT_NAME, Session};
use c2w_devices::backend::block::FileBlock;
use c2w_devices::backend::char::{NullChar, char_channel};
use c2w_devices::backend::entropy::HostEntropy;
use c2w_devices::backend::fs::native::{NativeFs, NativeOptions};
use c2w_devices::virtio::VirtioDevice;
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::p9::{self, P9};
use c2w_devices::virtio::rng::Rng;
use c2w_engine::irq::Attention;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The kernel's command line, on both machines.
pub const CMDLINE: &str = "console=ttyS0 quiet panic=-1";
/// Room in each direction of the agent's port and of the serial console.
const CHANNEL_BYTES: usize = 256 * 1024;

/// The machine.
pub struct Ours {
    vm: Vm,
    console: ConsoleTail,
}

impl Ours {
    /// Builds it; its first instruction runs with the first [`Guest::next_event`].
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn start(assets: &Assets, jit: Jit) -> Result<Self> {
        let attention = Attention::default();
        let (console, console_host) = char_channel(CHANNEL_BYTES, &attention);
        let (port, port_host) = char_channel(CHANNEL_BYTES, &attention);
        let ports = vec![
            PortOptions { name: String::new(), is_console: true, backend: Box::new(NullChar) },
            PortOptions { name: PORT_NAME.to_string(), is_console: false, backend: Box::new(port) },
        ];
        let disk = |path: &Path, id| -> Result<Box<dyn VirtioDevice>> {
            Ok(Box::new(Blk::new(Box::new(FileBlock::whole(File::open(path)?, true)?), id)))
        };
        let share = NativeFs::new(&assets.share, NativeOptions::default())?;
        let share = P9::new(share, SHARE_TAG, p9::Options::default());
        let virtio: Vec<Box<dyn VirtioDevice>> = vec![
            disk(&assets.rootfs, "root")?,
            Box::new(Console::new(ports, ConsoleSize::new(&attention))),
            Box::new(Rng::new(Box::new(HostEntropy))),
            Box::new(share.map_err(|errno| anyhow!("cannot share a directory: {errno:?}"))?),
            disk(&assets.disk, "bulk")?,
        ];
        let files = LinuxFiles {
            kernel: fs::read(&assets.kernel)?,
            initrd: Some(fs::read(&assets.initrd)?),
            cmdline: CMDLINE.to_string(),
        };
        let parts = Parts {
            console: Box::new(console),
            virtio,
            memory_bytes: MEMORY_BYTES,
            attention,
            jit: jit.into(),
        };
        let machine = linux(assets.arch, files, parts)?;
        Ok(Self { vm: Vm::new(machine, port_host), console: ConsoleTail::new(console_host) })
    }

    /// Processor time of this program, which does nothing but run the machine while one is measured.
    pub fn process_cpu_time() -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

impl Guest for Ours {
    fn session(&mut self) -> &mut Session {
        &mut self.vm.session
    }

    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>> {
        while Instant::now() < deadline {
            if let Some(event) = self.vm.next_event()? {
                return Ok(Some(event));
            }
            self.console.take(false);
            match self.vm.step() {
                Step::Ran => {}
                Step::Idle(Some(time)) => {
                    thread::sleep(time.min(deadline.saturating_duration_since(Instant::now())));
                }
                Step::Idle(None) => bail!("the guest waits for nothing\n{}", self.console.describe()),
                Step::Diverged => bail!("{}", self.vm.computer().divergence().unwrap_or_default()),
                Step::Ended(request) => {
                    bail!("the guest ended: {request:?}\n{}", self.console.describe())
                }
            }
        }
        Ok(None)
    }

    fn cpu_time(&self) -> Result<Duration> {
        Ok(Self::process_cpu_time())
    }

    fn peak_bytes(&self) -> Option<u64> {
        None
    }
}
