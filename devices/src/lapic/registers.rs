//! Which register is where: offsets in the xAPIC page, numbers of the x2APIC's (SDM 3A tables 11-1 and 11-6).

use super::{LVT_ENTRIES, lvt, spurious};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Id,
    Version,
    TaskPriority,
    ArbitrationPriority,
    ProcessorPriority,
    EndOfInterrupt,
    LogicalDestination,
    DestinationFormat,
    Spurious,
    /// 32 vectors, from 32 times the number on.
    InService(usize),
    /// The same.
    LevelTriggered(usize),
    /// The same.
    Requested(usize),
    Errors,
    Command,
    CommandHigh,
    /// An entry of the local vector table, by its place in the state.
    LocalVector(usize),
    InitialCount,
    CurrentCount,
    Divide,
    SelfInterrupt,
}

impl Register {
    fn of_number(number: u32) -> Option<Self> {
        Some(match number {
            0x02 => Self::Id,
            0x03 => Self::Version,
            0x08 => Self::TaskPriority,
            0x0a => Self::ProcessorPriority,
            0x0b => Self::EndOfInterrupt,
            0x0d => Self::LogicalDestination,
            0x0f => Self::Spurious,
            0x10..=0x17 => Self::InService(number as usize - 0x10),
            0x18..=0x1f => Self::LevelTriggered(number as usize - 0x18),
            0x20..=0x27 => Self::Requested(number as usize - 0x20),
            0x28 => Self::Errors,
            0x30 => Self::Command,
            0x32..=0x37 => Self::LocalVector(number as usize - 0x32),
            0x38 => Self::InitialCount,
            0x39 => Self::CurrentCount,
            0x3e => Self::Divide,
            _ => return None,
        })
    }

    /// The register at an offset of the page.
    pub fn of_offset(offset: u64) -> Option<Self> {
        if offset & 15 != 0 {
            return None;
        }
        match (offset >> 4) as u32 {
            0x09 => Some(Self::ArbitrationPriority),
            0x0e => Some(Self::DestinationFormat),
            0x31 => Some(Self::CommandHigh),
            number => Self::of_number(number),
        }
    }

    /// The register with an MSR number, counted from the first.
    pub fn of_msr(number: u32) -> Option<Self> {
        match number {
            0x3f => Some(Self::SelfInterrupt),
            number => Self::of_number(number),
        }
    }

    /// The bits that WRMSR may set; `None` for what cannot be written.
    pub fn x2apic_writable(self) -> Option<u64> {
        Some(match self {
            Self::TaskPriority | Self::SelfInterrupt => 0xff,
            Self::EndOfInterrupt | Self::Errors => 0,
            Self::Spurious => spurious::WRITABLE.into(),
            Self::Command => 0xffff_ffff_000c_cfff,
            Self::LocalVector(entry @ 0..LVT_ENTRIES) => lvt::WRITABLE[entry].into(),
            Self::InitialCount => u32::MAX.into(),
            Self::Divide => 0b1011,
            _ => return None,
        })
    }
}
