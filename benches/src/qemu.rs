//! The same computer by `qemu-system-riscv64` or `qemu-system-x86_64` with its translator (TCG), its agent's port on a
//! socket.

use crate::assets::{Assets, MEMORY_BYTES};
use crate::guest::{Guest, SHARE_TAG};
use crate::memory;
use crate::ours::CMDLINE;
use crate::process::{self, poll_until};
use crate::tsc;
use anyhow::{Context, Result, bail};
use c2w_agent::{Event, PORT_NAME, Session};
use c2w_packer::image::Arch;
use c2w_packer::toolchain::QemuSystem;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Bytes read from the socket at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The kernel's command line.
///
/// Without a timer whose rate it knows, an x86 kernel finds no other's, and the translator has none that says its own.
/// An 8254 does not help: the kernel gives up when this host lets the translator wait while it counts.
///
/// # Errors
/// When the rate is not to be had here.
pub fn cmdline(arch: Arch) -> Result<String> {
    Ok(match arch {
        Arch::Riscv64 => CMDLINE.to_string(),
        Arch::X86_64 => format!("{CMDLINE} tsc_early_khz={}", tsc::khz()?),
    })
}

/// A process of QEMU, which ends when this is dropped.
pub struct Qemu {
    process: Child,
    socket: UnixStream,
    session: Session,
    inbox: Vec<u8>,
    taken: usize,
}

impl Qemu {
    /// Starts it, with a [`cmdline`].
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(program: &QemuSystem, assets: &Assets, cmdline: &str) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // The child is to have this descriptor under the same number.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let mut command = program.command();
        let mut option = |name: &str, value: String| {
            command.arg(name).arg(value);
        };
        match assets.arch {
            Arch::Riscv64 => option("-M", "virt".into()),
            Arch::X86_64 => {
                // The machine with the same devices. The kernel gets no interrupts through its second I/O APIC.
                option("-M", "microvm,acpi=on,rtc=on,pic=off,pit=off,ioapic2=off".into());
                // x86-64-v2 with cryptography, as c2w has it; with more its guest would run other code.
                option(
                    "-cpu",
                    "Westmere-v1,+sha-ni,+movbe,+rdrand,+xsave,+fsgsbase,+smep,+smap,+erms".into(),
                );
            }
        }
        option("-accel", "tcg".into());
        option("-smp", "1".into());
        option("-m", format!("{}M", MEMORY_BYTES >> 20));
        for name in ["-display", "-monitor", "-nic"] {
            option(name, "none".into());
        }
        // The port itself is there, and what is written to it is lost.
        option("-serial", "null".into());
        option("-kernel", assets.kernel.display().to_string());
        option("-initrd", assets.initrd.display().to_string());
        option("-append", cmdline.into());
        // The virtio 1 interface, as c2w has it.
        option("-global", "virtio-mmio.force-legacy=false".into());
        // Linux names disks in the order of their buses, which the device tree and ACPI list from the last to the first.
        for (id, path, bus) in [("root", &assets.rootfs, 7), ("bulk", &assets.disk, 6)] {
            option("-drive", format!("file={},id={id},format=raw,if=none,readonly=on", display(path)));
            option("-device", format!("virtio-blk-device,drive={id},bus=virtio-mmio-bus.{bus}"));
        }
        option("-device", "virtio-serial-device".into());
        option("-chardev", format!("socket,id=agent,fd={}", theirs.as_raw_fd()));
        option("-device", format!("virtserialport,chardev=agent,name={PORT_NAME}"));
        option("-device", "virtio-rng-device".into());
        let share = display(&assets.share);
        option("-fsdev", format!("local,id=share,path={share},security_model=none"));
        option("-device", format!("virtio-9p-device,fsdev=share,mount_tag={SHARE_TAG}"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("cannot start QEMU")?;
        Ok(Self { process, socket, session: Session::new(), inbox: Vec::new(), taken: 0 })
    }

    /// Another emulator's process, with the other end of the port's socket.
    pub(crate) fn around(process: Child, socket: UnixStream) -> Self {
        Self { process, socket, session: Session::new(), inbox: Vec::new(), taken: 0 }
    }

    /// Its process identifier.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Writes what is to be said and reads what was said, or waits until one of them can be done, or time is up.
    fn exchange(&mut self, deadline: Instant) -> Result<()> {
        while !self.session.outgoing().is_empty() {
            match self.socket.write(self.session.outgoing()) {
                Ok(len) => self.session.sent(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot write to QEMU"),
            }
        }
        self.inbox.resize(CHUNK_BYTES, 0);
        self.taken = 0;
        let read = self.socket.read(&mut self.inbox);
        self.inbox.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => bail!("QEMU has ended"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, !self.session.outgoing().is_empty());
                poll_until(&mut [PollFd::new(&self.socket, flags)], deadline)?;
                Ok(())
            }
            Err(error) => Err(error).context("cannot read from QEMU"),
        }
    }
}

/// A path inside an option, in which a comma is written twice.
fn display(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

impl Guest for Qemu {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>> {
        loop {
            let mut rest = &self.inbox[self.taken..];
            let event = self.session.next_event(&mut rest)?;
            self.taken = self.inbox.len() - rest.len();
            match event {
                Some(event) => return Ok(Some(event)),
                None if Instant::now() >= deadline => return Ok(None),
                None => self.exchange(deadline)?,
            }
        }
    }

    fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid())
    }

    fn peak_bytes(&self) -> Option<u64> {
        memory::peak_bytes(self.pid())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
