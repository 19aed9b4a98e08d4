//! `c2w boot`: a kernel, a firmware or a bare-metal program with the serial console on the standard streams.

use crate::exit;
use crate::host_io::{HostEvent, HostIo, Stream};
use crate::jit::{self, JitOptions};
use crate::launch::{self, Bios, BootOptions, Disk, Share};
use crate::size;
use crate::terminal::RawMode;
use crate::vm::{Computer, Step, step};
use anyhow::{Context, Result, bail};
use c2w_devices::backend::char::CharHost;
use c2w_engine::mem::device::Request;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Console output taken from the guest before the host has written the last.
const OUTPUT_BYTES: usize = 64 * 1024;
/// First key of a command to this program rather than to the guest: Ctrl-A, as in QEMU.
const ESCAPE: u8 = 0x01;

/// Boot a kernel, firmware or bare-metal program with its serial console on standard input and output.
///
/// The status is 0 after power-off and for a test program that passed; one that ends the run with another status of its
/// own gives that. In a terminal, Ctrl-A x ends the machine.
#[derive(clap::Args)]
pub struct Args {
    /// Linux `Image` or `bzImage`, ELF file or Multiboot kernel; it says which machine it needs.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// Initial RAM disk.
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Kernel command line.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Disk image; `ro` refuses writes. May be given several times.
    #[arg(long, value_name = "FILE[,ro]", value_parser = Disk::parse)]
    disk: Vec<Disk>,
    /// Directory shared over 9p under a mount tag. May be given several times.
    #[arg(long, value_name = "TAG=DIR[,ro]", value_parser = Share::parse)]
    share: Vec<Share>,
    /// Memory of the guest.
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = size::parse)]
    memory: u64,
    /// Firmware to start first; `none` starts the kernel in machine mode. Without the option the built-in SBI serves
    /// the kernel.
    #[arg(long, value_name = "none|FILE")]
    bios: Option<String>,
    #[command(flatten)]
    jit: JitOptions,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let options = BootOptions {
        kernel: args.kernel.clone(),
        initrd: args.initrd.clone(),
        cmdline: args.append.clone(),
        disks: args.disk.clone(),
        shares: args.share.clone(),
        memory_bytes: args.memory,
        bios: match args.bios.as_deref() {
            None => Bios::BuiltIn,
            Some("none") => Bios::None,
            Some(path) => Bios::File(path.into()),
        },
        jit: args.jit.clone(),
    };
    // A first machine before the terminal changes: what is wrong with the options is said in plain lines.
    let mut first = Some(launch::boot(&options)?);
    let mut io = HostIo::start();
    io.catch_signals(&[SIGHUP, SIGINT, SIGTERM]).context("cannot catch signals")?;
    let terminal = std::io::stdin().is_terminal();
    let raw = terminal.then(|| RawMode::enter(std::io::stdin())).transpose();
    let raw = raw.context("cannot change the terminal's mode")?;
    io.read_stdin();
    let mut console = Console {
        io,
        escapes: terminal,
        escaped: false,
        input: Vec::new(),
        eof: false,
        output: vec![0; OUTPUT_BYTES].into_boxed_slice(),
    };
    let status = loop {
        let (mut computer, port) = match first.take() {
            Some(machine) => machine,
            None => launch::boot(&options)?,
        };
        let end = console.run(&mut *computer, &port)?;
        computer.write_profile()?;
        jit::save_code(&mut *computer, Duration::ZERO);
        match end {
            End::Reboot => continue,
            End::Status(status) => break status,
            End::Failed(message) => {
                drop(raw);
                bail!("{message}");
            }
            End::Diverged(message) => {
                drop(raw);
                eprint!("c2w: {message}");
                return Ok(exit::DIVERGED);
            }
            End::Finished(number) => {
                drop(raw);
                eprintln!("c2w: the guest ended the run with status {number}");
                // As a shell would see it, but never success.
                return Ok((number as u8).max(exit::FAILURE));
            }
        }
    };
    drop(raw);
    Ok(status)
}

/// How a machine ended.
enum End {
    Status(u8),
    Reboot,
    Failed(String),
    /// Translated code is wrong, and how.
    Diverged(String),
    /// With a status of the guest's own that is not success.
    Finished(u64),
}

/// The standard streams as a serial console.
struct Console {
    io: HostIo,
    /// Ctrl-A is a command key.
    escapes: bool,
    escaped: bool,
    /// Input the guest had no room for yet.
    input: Vec<u8>,
    eof: bool,
    /// Room for output on its way from the guest.
    output: Box<[u8]>,
}

impl Console {
    fn run(&mut self, computer: &mut dyn Computer, port: &CharHost) -> Result<End> {
        loop {
            while let Ok(event) = self.io.events.try_recv() {
                if let Some(end) = self.host_event(event)? {
                    return Ok(end);
                }
            }
            self.feed(port);
            let step = step(computer);
            let moved = self.drain(port);
            match step {
                Step::Ran => {}
                Step::Idle(_) if moved => {}
                Step::Idle(None) if self.eof && self.input.is_empty() && !self.io.has_pending_output() => {
                    return Ok(End::Failed(
                        "the guest waits for an interrupt, no timer is set and standard input has ended: \
                         nothing can wake it"
                            .to_string(),
                    ));
                }
                Step::Idle(None) if !computer.devices_can_wake() => {
                    self.flush(port)?;
                    return Ok(End::Failed(
                        "the guest waits for an interrupt, but has enabled none that could come".to_string(),
                    ));
                }
                Step::Idle(wait) => {
                    let wait = wait.unwrap_or(Duration::from_secs(3600));
                    if let Ok(event) = self.io.events.recv_timeout(wait)
                        && let Some(end) = self.host_event(event)?
                    {
                        return Ok(end);
                    }
                }
                Step::Diverged => {
                    self.flush(port)?;
                    return Ok(End::Diverged(computer.divergence().unwrap_or_default()));
                }
                Step::Ended(request) => {
                    self.flush(port)?;
                    return Ok(match request {
                        Request::PowerOff | Request::Finish(0) => End::Status(0),
                        Request::Reset => End::Reboot,
                        Request::Finish(number) => End::Finished(number),
                    });
                }
            }
        }
    }

    fn host_event(&mut self, event: HostEvent) -> Result<Option<End>> {
        self.io.note(&event);
        match event {
            HostEvent::Stdin(bytes) => {
                for byte in bytes {
                    if self.escaped {
                        self.escaped = false;
                        match byte {
                            b'x' => return Ok(Some(End::Status(0))),
                            ESCAPE => self.input.push(ESCAPE),
                            other => self.input.extend([ESCAPE, other]),
                        }
                    } else if self.escapes && byte == ESCAPE {
                        self.escaped = true;
                    } else {
                        self.input.push(byte);
                    }
                }
                if self.input.is_empty() {
                    self.io.want_stdin();
                }
            }
            HostEvent::StdinEof => self.eof = true,
            HostEvent::Written(..) => {}
            // Whoever read the console has gone.
            HostEvent::Broken(_, error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(Some(End::Status(exit::of_signal(signal_hook::consts::SIGPIPE))));
            }
            HostEvent::Broken(_, error) => {
                return Ok(Some(End::Failed(format!("cannot write the console's output: {error}"))));
            }
            HostEvent::Signal(signal) => return Ok(Some(End::Status(exit::of_signal(signal)))),
        }
        Ok(None)
    }

    /// Gives the guest waiting input.
    fn feed(&mut self, port: &CharHost) {
        if !self.input.is_empty() {
            let taken = port.write(&self.input);
            self.input.drain(..taken);
            if self.input.is_empty() {
                self.io.want_stdin();
            }
        }
    }

    /// Passes output on; true if there was any. Takes none while the host is behind.
    fn drain(&mut self, port: &CharHost) -> bool {
        let mut moved = false;
        while !self.io.has_pending_output() {
            let len = port.read(&mut self.output);
            if len == 0 {
                break;
            }
            moved = true;
            self.io.write(Stream::Stdout, self.output[..len].to_vec());
        }
        moved
    }

    /// Writes everything out before the end.
    fn flush(&mut self, port: &CharHost) -> Result<()> {
        loop {
            self.drain(port);
            if !self.io.has_pending_output() {
                return Ok(());
            }
            let event = self.io.events.recv().context("output thread")?;
            self.io.note(&event);
        }
    }
}
