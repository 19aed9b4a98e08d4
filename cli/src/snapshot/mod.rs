//! Snapshots: a machine that has booted, kept in an image, and runs that go on from it.
//!
//! [`take`] makes one of a machine, [`live`] of one in which a container runs, [`pack`] boots the machine of a new image up to that moment, and
//! [`resume`] makes a machine of one. An image has its pages of RAM, its state ([`Saved`]) and what a start
//! needs ([`learnt`]) as sections of their own.
//!
//! A state is of use to the very build that made it and to no other: what a field means may have changed. So it
//! begins with the name of that build, and another one boots the image's kernel instead.

pub mod learnt;
pub mod live;
pub mod pack;
pub mod prefetch;
pub mod programs;
pub mod resume;
pub mod take;

use c2w_agent::SessionState;
use c2w_decoders::riscv64::{self, guest::Riscv64};
use c2w_decoders::x86_64::{self, guest::X86_64};
use c2w_devices::virtio::mmio::VirtioMmioState;
use c2w_engine::guest::Guest;
use c2w_engine::machine::Machine;
use c2w_packer::image::ram::PageRun;
use c2w_packer::image::{Image, ImageError, SectionId};
use serde::{Deserialize, Serialize};

/// How a state begins.
const MAGIC: &[u8; 8] = b"c2wstate";
/// The name of this build: a hash of the sources.
const BUILD: &[u8; 32] = match env!("C2W_BUILD").as_bytes().first_chunk() {
    Some(name) if env!("C2W_BUILD").len() == 32 => name,
    _ => panic!("the build script gives 32 digits"),
};

/// The state of a machine of any guest, without its RAM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MachineState {
    /// A riscv64 machine.
    Riscv64(Box<riscv64::snapshot::MachineState>),
    /// An x86_64 machine.
    X86_64(Box<x86_64::snapshot::MachineState>),
}

impl MachineState {
    /// The states of the virtio devices, by slot.
    pub fn virtio(&self) -> &[VirtioMmioState] {
        match self {
            Self::Riscv64(state) => &state.board.virtio,
            Self::X86_64(state) => &state.board.virtio,
        }
    }
}

/// A guest whose machines can be saved.
pub trait Saves: Guest + Sized {
    /// The state of a machine between two runs.
    fn save(machine: &Machine<Self>) -> MachineState;
}

impl Saves for Riscv64 {
    fn save(machine: &Machine<Self>) -> MachineState {
        MachineState::Riscv64(Box::new(riscv64::snapshot::save(machine)))
    }
}

impl Saves for X86_64 {
    fn save(machine: &Machine<Self>) -> MachineState {
        MachineState::X86_64(Box::new(x86_64::snapshot::save(machine)))
    }
}

/// What a snapshot is besides its pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// Which pages the RAM section has.
    pub runs: Vec<PageRun>,
    /// The machine.
    pub machine: MachineState,
    /// The conversation with its agent.
    pub session: SessionState,
    /// What runs in it.
    pub running: Running,
}

/// What runs in a saved machine, as far as its host decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The container's process, which waits for the agent's word to go on.
    pub process: Option<Process>,
    /// Where volumes are mounted in the container, by the number of the share.
    pub mounted: Vec<Vec<u8>>,
    /// The host name that the next container has already, with the files that tell it.
    pub hostname: Option<Vec<u8>>,
}

/// How the container's process was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// With a terminal.
    pub tty: bool,
    /// With its standard input open.
    pub stdin: bool,
}

/// Why the bytes of a state cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// They are none.
    #[error("its state section holds no state")]
    NotAState,
    /// Made by another build.
    #[error("it was made by another build of c2w")]
    OtherBuild,
    /// By this build, but damaged or forged.
    #[error("its state section cannot be read")]
    Malformed,
}

impl Saved {
    /// What an image's snapshot is; `None` if it has none.
    ///
    /// # Errors
    /// The image's, and why this build cannot use it.
    pub fn of(image: &Image) -> Result<Option<Result<Self, StateError>>, ImageError> {
        match image.header().section(SectionId::MachineState) {
            Some(section) => Ok(Some(Self::decode(&image.read(section.id)?))),
            None => Ok(None),
        }
    }

    /// Pages of RAM that are not zero, about.
    pub fn resident_pages(&self) -> u64 {
        self.runs.iter().map(|run| run.count).fold(0, u64::saturating_add)
    }

    /// The bytes of the state section.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let head = [MAGIC.as_slice(), BUILD].concat();
        postcard::to_extend(self, head)
    }

    /// Reads a state section.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (build, state) = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_first_chunk())
            .ok_or(StateError::NotAState)?;
        if build != BUILD {
            return Err(StateError::OtherBuild);
        }
        match postcard::take_from_bytes(state) {
            Ok((saved, [])) => Ok(saved),
            _ => Err(StateError::Malformed),
        }
    }
}
