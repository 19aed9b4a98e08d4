//! Building machines: from an image or from files on the command line to a machine that is about to run.

use crate::clock::HostClock;
use crate::console::ConsoleTail;
use crate::container::RunOptions;
use crate::jit::{JitOptions, Prepared};
use crate::snapshot::Process;
use crate::snapshot::resume::{self, Reason, Start};
use crate::timeline::Timeline;
use crate::vm::{CHANNEL_BYTES, Computer, Vm};
use crate::volume::Volume;
use anyhow::{Context, Result, anyhow, bail};
use c2w_agent::{PORT_NAME, ProcessId};
use c2w_decoders::board::{BoardParts, VIRTIO_SLOTS};
use c2w_decoders::boot::MachineConfig;
use c2w_decoders::formats::{self, Architecture};
use c2w_decoders::riscv64::boot::Firmware;
use c2w_decoders::{riscv64, x86_64};
use c2w_devices::backend::block::{BlockBackend, FileBlock};
use c2w_devices::backend::char::{CharBackend, CharChannel, CharHost, char_channel};
use c2w_devices::backend::entropy::HostEntropy;
use c2w_devices::backend::fs::native::{NativeFs, NativeOptions, raise_handle_limit};
use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::mmio::VirtioMmioState;
use c2w_devices::virtio::p9::{self, P9};
use c2w_devices::virtio::rng::Rng;
use c2w_devices::virtio::{DeviceState, VirtioDevice};
use c2w_engine::irq::Attention;
use c2w_packer::image::{Arch, Image};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Kernel command line of every container, before the image's own: a failure ends the machine at once. Accounting memory
/// by control group takes a tenth of every page fault, and no container has such groups of its own; the table of
/// connections, of which the kernel would make one for a server, is looked through by a worker now and then.
const CONTAINER_CMDLINE: &str =
    "console=ttyS0 quiet panic=-1 cgroup_disable=memory nf_conntrack.hashsize=1024";
/// Files up to this size are read even if the guest has less memory: the loader knows better what is wrong with them.
const READ_BYTES: u64 = 256 << 20;
/// Slots taken by the root file system, the console with the agent's port and the entropy device.
pub const OWN_DEVICES: usize = 3;
/// Volumes that a machine can have.
pub const MOST_VOLUMES: usize = VIRTIO_SLOTS - OWN_DEVICES;
/// Serial number of the root file system's disk.
const ROOT_DISK_ID: &str = "c2w-root";

/// A container's machine before it runs.
pub struct Launched {
    /// The machine with the agent's port.
    pub vm: Vm,
    /// The kernel's console.
    pub console: ConsoleTail,
    /// Number of the share that each volume of the options has.
    pub places: Vec<usize>,
    /// Where shares are mounted already, by their number.
    pub mounted: Vec<Vec<u8>>,
    /// The host name that the container has already.
    pub hostname: Option<Vec<u8>>,
    /// How far the guest is.
    pub start: State,
}

/// How far the guest of a machine is that has not run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to boot, and the agent will say when it has.
    Cold,
    /// The agent listens.
    Resumed {
        /// The container's process, which waits for the agent to let it go on, and how it was started.
        process: Option<(ProcessId, Process)>,
    },
}

/// The machine of an image: one that goes on from its snapshot, or else one that boots. Says why a snapshot is not used.
///
/// # Errors
/// If the image does not fit this program, or an option does not fit the machine or the host.
pub fn container(image: &Image, options: &RunOptions, timeline: &mut Timeline) -> Result<Launched> {
    let reason = match resume::machine(image, options, timeline)? {
        Start::Resumed(launched) => return Ok(*launched),
        Start::Cold(reason) => reason,
    };
    let volumes: Vec<_> = options.volumes.iter().map(Some).collect();
    let launched = cold(image, &volumes, options.memory_bytes, options.jit.clone())?;
    // Not before it is sure that there is a machine: an error is one line.
    match reason {
        Some(Reason::Unusable(text)) => eprintln!("c2w-run: warning: {text}"),
        Some(Reason::Asked(text)) if options.stats => eprintln!("c2w-run: {text}"),
        _ => {}
    }
    timeline.mark("the machine is built");
    Ok(launched)
}

/// Builds the machine of an image before its first instruction, with these volumes; places without one can be given
/// one when the machine goes on from a snapshot.
///
/// # Errors
/// As [`container`].
pub fn cold(
    image: &Image,
    volumes: &[Option<&Volume>],
    memory_bytes: Option<u64>,
    jit: JitOptions,
) -> Result<Launched> {
    let manifest = image.manifest();
    let Wired { attention, serial, serial_host, port_host, virtio } = wire(image, volumes, None)?;
    let cmdline = [CONTAINER_CMDLINE, &manifest.machine.cmdline].join(" ");
    let files = LinuxFiles {
        kernel: image.kernel()?,
        initrd: image.initrd()?,
        cmdline: cmdline.trim_end().to_string(),
    };
    let memory_bytes = memory_bytes.unwrap_or(manifest.machine.memory_bytes);
    let parts = Parts { console: Box::new(serial), virtio, memory_bytes, attention, jit };
    let computer = linux(manifest.machine.arch, files, parts)?;
    Ok(Launched {
        vm: Vm::new(computer, port_host),
        console: ConsoleTail::new(serial_host),
        places: (0..volumes.len()).collect(),
        mounted: Vec::new(),
        hostname: None,
        start: State::Cold,
    })
}

/// The devices of a container's machine, and the host's ends of its streams.
pub struct Wired {
    /// The flag that the streams set.
    pub attention: Attention,
    /// The serial port's other end.
    pub serial: CharChannel,
    /// The host's end of that.
    pub serial_host: CharHost,
    /// The host's end of the agent's port.
    pub port_host: CharHost,
    /// The virtio devices, in the order of their slots.
    pub virtio: Vec<Box<dyn VirtioDevice>>,
}

/// Makes the devices: as after power-on, or as `saved`, which has one state for each.
///
/// # Errors
/// A volume cannot be shared, there are too many, or the states are not those of these devices.
pub fn wire(image: &Image, volumes: &[Option<&Volume>], saved: Option<&[VirtioMmioState]>) -> Result<Wired> {
    let attention = Attention::default();
    let (serial, serial_host) = char_channel(CHANNEL_BYTES, &attention);
    let (port, port_host) = char_channel(CHANNEL_BYTES, &attention);
    if volumes.len() > MOST_VOLUMES {
        bail!("{} volumes, but the machine has room for {MOST_VOLUMES}", volumes.len());
    }
    let mut states = saved.map(|saved| saved.iter().map(|state| &state.device));
    let mut state = || match &mut states {
        Some(states) => states.next().map(Some).context("it has fewer devices than the machine"),
        None => Ok(None),
    };
    let other = || anyhow!("its devices are not those of the machine");

    let rootfs = image.rootfs()?;
    let disk = FileBlock::new(rootfs.file, rootfs.offset, rootfs.len_bytes, true);
    let disk = Box::new(disk.with_context(|| format!("{}: root file system", image.path().display()))?);
    let disk = match state()? {
        None => Blk::new(disk, ROOT_DISK_ID),
        Some(DeviceState::Blk(state)) => Blk::restore(disk, ROOT_DISK_ID, state)?,
        Some(_) => return Err(other()),
    };
    let null = Box::new(c2w_devices::backend::char::NullChar);
    let ports = vec![
        PortOptions { name: String::new(), is_console: true, backend: null },
        PortOptions { name: PORT_NAME.to_string(), is_console: false, backend: Box::new(port) },
    ];
    let size = ConsoleSize::new(&attention);
    let console = match state()? {
        None => Console::new(ports, size),
        Some(DeviceState::Console(state)) => Console::restore(ports, size, state)?,
        Some(_) => return Err(other()),
    };
    let (None | Some(DeviceState::Stateless)) = state()? else { return Err(other()) };
    let rng = Rng::new(Box::new(HostEntropy));
    let mut virtio: Vec<Box<dyn VirtioDevice>> = vec![Box::new(disk), Box::new(console), Box::new(rng)];
    debug_assert_eq!(virtio.len(), OWN_DEVICES);
    for (index, volume) in volumes.iter().enumerate() {
        let state = match state()? {
            None => None,
            Some(DeviceState::P9(state)) => Some(state),
            Some(_) => return Err(other()),
        };
        let tag = share_tag(index);
        virtio.push(match volume {
            Some(volume) => share(&tag, &volume.host, volume.read_only, state)?,
            None => nothing_shared(&tag, state)?,
        });
    }
    Ok(Wired { attention, serial, serial_host, port_host, virtio })
}

/// What the host provides to a machine of any architecture.
pub struct Parts {
    /// The serial port's other end.
    pub console: Box<dyn CharBackend>,
    /// The virtio devices, in the order of their slots.
    pub virtio: Vec<Box<dyn VirtioDevice>>,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// The flag that the back ends set.
    pub attention: Attention,
    /// How guest code is run.
    pub jit: JitOptions,
}

/// What Linux boots from.
pub struct LinuxFiles {
    /// The kernel, in a form that the architecture boots.
    pub kernel: Vec<u8>,
    /// Initial RAM disk.
    pub initrd: Option<Vec<u8>>,
    /// Kernel command line.
    pub cmdline: String,
}

/// A machine that is about to run Linux.
///
/// # Errors
/// If a file is of the wrong kind, or the machine cannot be as asked.
pub fn linux(arch: Arch, files: LinuxFiles, parts: Parts) -> Result<Box<dyn Computer>> {
    match arch {
        Arch::Riscv64 => riscv64_machine(files, Firmware::BuiltIn, parts),
        Arch::X86_64 => x86_64_machine(files, parts),
    }
}

fn riscv64_machine(files: LinuxFiles, firmware: Firmware, parts: Parts) -> Result<Box<dyn Computer>> {
    let LinuxFiles { kernel, initrd, cmdline } = files;
    let files = riscv64::boot::BootFiles { firmware, kernel: Some(kernel), initrd, cmdline };
    let (config, jit) = config(parts)?;
    let machine = riscv64::boot::machine(&files, config)?;
    jit.apply(machine, files.kernel.as_deref().unwrap_or_default())
}

fn x86_64_machine(files: LinuxFiles, parts: Parts) -> Result<Box<dyn Computer>> {
    let LinuxFiles { kernel, initrd, cmdline } = files;
    let files = x86_64::boot::BootFiles { kernel, initrd, cmdline };
    let (config, jit) = config(parts)?;
    let machine = x86_64::boot::machine(&files, config)?;
    jit.apply(machine, &files.kernel)
}

/// The machine around what boots, and what translates for it.
fn config(parts: Parts) -> Result<(MachineConfig, Prepared)> {
    let Parts { console, virtio, memory_bytes, attention, jit } = parts;
    let jit = jit.reserve(memory_bytes)?;
    let config = MachineConfig {
        memory_bytes,
        backing: jit.backing(),
        parts: BoardParts { console, wall_clock: Box::new(unix_ns), virtio },
        clock: Box::new(HostClock::default()),
        attention,
        rng_seed: rng_seed()?,
    };
    Ok((config, jit))
}

/// Entropy for the guest kernel's random number generator.
pub(crate) fn rng_seed() -> Result<Vec<u8>> {
    let mut seed = vec![0; 64];
    getrandom::fill(&mut seed).context("no random numbers from the host")?;
    Ok(seed)
}

/// The time of day.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn share(
    tag: &str,
    path: &Path,
    read_only: bool,
    state: Option<&p9::State>,
) -> Result<Box<dyn VirtioDevice>> {
    let context = || format!("cannot share {}", path.display());
    let metadata = fs::metadata(path).with_context(context)?;
    raise_handle_limit();
    let open = if metadata.is_dir() { NativeFs::new } else { NativeFs::new_file };
    let fs = open(path, NativeOptions::default()).with_context(context)?;
    let options = p9::Options { read_only, ..p9::Options::default() };
    if let Some(state) = state {
        return Ok(Box::new(P9::restore(fs, tag, options, state).with_context(context)?));
    }
    let device = P9::new(fs, tag, options);
    Ok(Box::new(device.map_err(|errno| anyhow!("{}: the host answers {errno:?}", context()))?))
}

/// A place for a volume that is not taken: a share of nothing.
fn nothing_shared(tag: &str, state: Option<&p9::State>) -> Result<Box<dyn VirtioDevice>> {
    let fs = MemoryFs::new(MemoryLimits::default());
    let options = p9::Options::default();
    Ok(match state {
        Some(state) => Box::new(P9::restore(fs, tag, options, state)?),
        None => Box::new(P9::new(fs, tag, options).map_err(|errno| anyhow!("no empty share: {errno:?}"))?),
    })
}

/// The mount tag of volume number `index`.
pub fn share_tag(index: usize) -> String {
    format!("share{index}")
}

/// What of a volume's share is mounted: empty for all of it, or the name of the one file that is shared.
///
/// # Errors
/// If the host path is gone.
pub fn share_source(volume: &Volume) -> Result<Vec<u8>> {
    let context = || format!("cannot share {}", volume.host.display());
    if fs::metadata(&volume.host).with_context(context)?.is_dir() {
        return Ok(Vec::new());
    }
    let path = fs::canonicalize(&volume.host).with_context(context)?;
    Ok(path.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec()))
}

/// Firmware of a raw boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bios {
    /// The built-in SBI.
    BuiltIn,
    /// None: the kernel starts in machine mode.
    None,
    /// A firmware file.
    File(PathBuf),
}

/// A disk of a raw boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The host file.
    pub path: PathBuf,
    /// The guest may not write it.
    pub read_only: bool,
}

impl Disk {
    /// Reads `FILE[,ro]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, read_only) = split_read_only(text);
        if path.is_empty() {
            Err("expected FILE or FILE,ro".into())
        } else {
            Ok(Self { path: path.into(), read_only })
        }
    }

    fn open(&self) -> Result<Box<dyn VirtioDevice>> {
        let metadata = fs::metadata(&self.path).with_context(|| self.path.display().to_string())?;
        if metadata.is_dir() {
            bail!("{}: is a directory; share directories with --share", self.path.display());
        }
        let file = OpenOptions::new().read(true).write(!self.read_only).open(&self.path);
        let file = file.with_context(|| self.path.display().to_string())?;
        let backend: Box<dyn BlockBackend> = Box::new(
            FileBlock::whole(file, self.read_only).with_context(|| self.path.display().to_string())?,
        );
        Ok(Box::new(Blk::new(backend, &self.path.file_name().unwrap_or_default().to_string_lossy())))
    }
}

/// A shared directory of a raw boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Mount tag in the guest.
    pub tag: String,
    /// The host directory.
    pub directory: PathBuf,
    /// The guest may not change it.
    pub read_only: bool,
}

impl Share {
    /// Reads `TAG=DIR[,ro]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, read_only) = split_read_only(text);
        match text.split_once('=') {
            Some((tag, directory)) if !tag.is_empty() && !directory.is_empty() => {
                Ok(Self { tag: tag.to_string(), directory: directory.into(), read_only })
            }
            _ => Err("expected TAG=DIR or TAG=DIR,ro".into()),
        }
    }
}

fn split_read_only(text: &str) -> (&str, bool) {
    match text.strip_suffix(",ro") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// A raw boot.
#[derive(Clone, Debug)]
pub struct BootOptions {
    /// Linux `Image` or ELF file.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
    /// Disks, `/dev/vda` first.
    pub disks: Vec<Disk>,
    /// Shared directories.
    pub shares: Vec<Share>,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// What runs before the kernel.
    pub bios: Bios,
    /// How guest code is run.
    pub jit: JitOptions,
}

/// Builds the machine of a raw boot; also gives the host's end of its serial console.
///
/// # Errors
/// If a file cannot be read or is of the wrong kind, or the machine cannot be as asked.
pub fn boot(options: &BootOptions) -> Result<(Box<dyn Computer>, CharHost)> {
    let firmware = match &options.bios {
        Bios::BuiltIn => Firmware::BuiltIn,
        Bios::None => Firmware::None,
        Bios::File(path) => Firmware::File(read(path, options.memory_bytes)?),
    };
    let files = LinuxFiles {
        kernel: read(&options.kernel, options.memory_bytes)?,
        initrd: options.initrd.as_deref().map(|path| read(path, options.memory_bytes)).transpose()?,
        cmdline: options.cmdline.clone(),
    };
    let attention = Attention::default();
    let (console, host) = char_channel(CHANNEL_BYTES, &attention);
    let mut virtio = vec![Box::new(Rng::new(Box::new(HostEntropy))) as Box<dyn VirtioDevice>];
    for disk in &options.disks {
        virtio.push(disk.open()?);
    }
    for directory in &options.shares {
        virtio.push(share(&directory.tag, &directory.directory, directory.read_only, None)?);
    }
    let parts = Parts {
        console: Box::new(console),
        virtio,
        memory_bytes: options.memory_bytes,
        attention,
        jit: options.jit.clone(),
    };
    let computer = match formats::architecture(&files.kernel) {
        Some(Architecture::X86_64) if options.bios != Bios::BuiltIn => {
            bail!(
                "--bios: only riscv64 machines have firmware, and {} is for x86_64",
                options.kernel.display()
            )
        }
        Some(Architecture::X86_64) => x86_64_machine(files, parts),
        Some(Architecture::Riscv64) => riscv64_machine(files, firmware, parts),
        // Firmware may know what to do with it.
        None if options.bios != Bios::BuiltIn => riscv64_machine(files, firmware, parts),
        None => Err(anyhow!("cannot boot the kernel: {}", formats::no_kernel(&files.kernel))),
    };
    Ok((computer.with_context(|| options.kernel.display().to_string())?, host))
}

/// A whole file or pipe. What neither the guest's memory nor [`READ_BYTES`] can hold is not read to its end, which it may
/// not have.
fn read(path: &Path, memory_bytes: u64) -> Result<Vec<u8>> {
    let context = || path.display().to_string();
    let file = File::open(path).with_context(context)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("{}: is a directory", path.display());
    }
    let limit_bytes = memory_bytes.max(READ_BYTES);
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > limit_bytes {
        bail!("{}: does not fit in the guest's memory", path.display());
    }
    Ok(bytes)
}
