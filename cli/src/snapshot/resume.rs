//! From an image with a snapshot to a machine that goes on from it.

use super::learnt::{Learnt, snapshot_pages};
use super::{MachineState, Saved, StateError};
use crate::clock::HostClock;
use crate::console::ConsoleTail;
use crate::container::RunOptions;
use crate::cut_short;
use crate::launch::{self, Launched, OWN_DEVICES, Wired};
use crate::timeline::Timeline;
use crate::vm::{Computer, Vm};
use crate::volume::Volume;
use anyhow::{Context, Result, bail};
use c2w_agent::Session;
use c2w_decoders::board::BoardParts;
use c2w_decoders::snapshot::RestoreParts;
use c2w_decoders::{riscv64, x86_64};
use c2w_engine::host::mapped::Piece;
use c2w_engine::mem::ram::Ram;
use c2w_packer::image::ram::{self, PageRun};
use c2w_packer::image::{Arch, Image, PAGE_BYTES, SectionId};
use std::os::unix::ffi::OsStrExt;

/// How an image's machine can begin.
pub enum Start {
    /// It goes on from the snapshot.
    Resumed(Box<Launched>),
    /// It has to boot.
    Cold(Option<Reason>),
}

/// Why a snapshot that is there is not used.
pub enum Reason {
    /// What the user asked for is no part of it: nothing to be told about unasked.
    Asked(String),
    /// It would have been used otherwise.
    Unusable(String),
}

/// Makes the machine of the image's snapshot, if it has one that this program and these options can use.
///
/// # Errors
/// The snapshot is damaged, or an option does not fit the host.
pub fn machine(image: &Image, options: &RunOptions, timeline: &mut Timeline) -> Result<Start> {
    let saved = if options.cold { None } else { Saved::of(image)? };
    let Some(saved) = saved else { return Ok(Start::Cold(None)) };
    let path = image.path().display();
    let saved = match saved {
        Ok(saved) => saved,
        Err(error @ StateError::OtherBuild) => {
            let text = format!("{path}: the snapshot is not used: {error}; booting instead");
            return Ok(Start::Cold(Some(Reason::Unusable(text))));
        }
        Err(error) => bail!("{path}: bad snapshot: {error}"),
    };
    if let Some(text) = other_memory(&saved, options) {
        let text = format!("{path}: the snapshot is not used: {text}; booting instead");
        return Ok(Start::Cold(Some(Reason::Unusable(text))));
    }
    if let Some(text) = misfit(&saved, options) {
        let text = format!("the snapshot is not used: {text}");
        return Ok(Start::Cold(Some(Reason::Asked(text))));
    }
    timeline.mark("the state is read");
    let launched = restore(image, saved, options, timeline);
    Ok(Start::Resumed(Box::new(launched.with_context(|| format!("{path}: bad snapshot"))?)))
}

/// The memory that the options ask for if it is another than the snapshot's.
fn other_memory(saved: &Saved, options: &RunOptions) -> Option<String> {
    let wanted = options.memory_bytes.filter(|bytes| *bytes != saved.memory_bytes)?;
    let [has, wanted] = [saved.memory_bytes, wanted].map(|bytes| bytes >> 20);
    Some(format!("its kernel found {has} MiB of memory when it booted, and --memory asks for {wanted} MiB"))
}

/// What the options ask for that the snapshot does not have.
fn misfit(saved: &Saved, options: &RunOptions) -> Option<String> {
    if let Some(process) = saved.running.process {
        if options.starts_otherwise() {
            return Some("its process is running, and another start was asked for".to_string());
        }
        if options.tty != process.tty {
            return Some(format!("its process has {} terminal", if process.tty { "a" } else { "no" }));
        }
        if options.interactive && !process.stdin {
            return Some("its process has no standard input".to_string());
        }
    }
    let places = places(saved);
    assign(&options.volumes, &saved.running.mounted, places)
        .is_none()
        .then(|| format!("it has no room for {} volumes", options.volumes.len()))
}

/// Number of places for volumes.
fn places(saved: &Saved) -> usize {
    saved.machine.virtio().len().saturating_sub(OWN_DEVICES)
}

/// The place of each volume: that of the one that was mounted there when the machine was saved, else a free one. `None`
/// if there are too few.
fn assign(volumes: &[Volume], mounted: &[Vec<u8>], places: usize) -> Option<Vec<usize>> {
    let mut free = mounted.len()..places;
    let mut place = |volume: &Volume| {
        let known = mounted.iter().take(places).position(|target| target == volume.guest.as_bytes());
        known.or_else(|| free.next())
    };
    volumes.iter().map(&mut place).collect()
}

fn restore(image: &Image, saved: Saved, options: &RunOptions, timeline: &mut Timeline) -> Result<Launched> {
    let section = image.section_file(SectionId::RamSnapshot)?;
    ram::check(&saved.runs, saved.memory_bytes, section.len_bytes)?;
    let session =
        Session::restore(&saved.session).context("its conversation with the agent is impossible")?;
    let arch = image.manifest().machine.arch;
    let (mounted, places) = (&saved.running.mounted, places(&saved));
    if mounted.len() > places {
        bail!("it has more volumes than places for them");
    }
    let assigned = assign(&options.volumes, mounted, places).context("too many volumes")?;
    let mut volumes = vec![None; places];
    for (volume, place) in options.volumes.iter().zip(&assigned) {
        volumes[*place] = Some(volume);
    }
    let wired = launch::wire(image, &volumes, Some(saved.machine.virtio()))?;
    let mut jit = options.jit.clone().reserve(saved.memory_bytes)?;
    let kernel = if jit.needs_kernel() { image.kernel()? } else { Vec::new() };
    let pieces = pieces(&saved.runs, section.offset);
    let mapped = jit.map(saved.memory_bytes, &section.file, &pieces).context("cannot map its memory")?;
    if image.header().section(SectionId::Profile).is_some() {
        let learnt = Learnt::decode(&image.read(SectionId::Profile)?);
        if let Some(prefetcher) = mapped.prefetcher {
            learnt.written.fetch(prefetcher);
        }
        jit.translate_ahead(learnt.hot, snapshot_pages(image, &saved)?);
    }
    let (ram, vcpu) = (mapped.ram, mapped.vcpu);
    let start = ram.base().as_ptr() as usize;
    cut_short::watch(image, start..start + ram.len_bytes()).context("cannot catch signals")?;
    timeline.mark("memory is mapped");
    let Wired { attention, serial, serial_host, port_host, virtio } = wired;
    let board = BoardParts { console: Box::new(serial), wall_clock: Box::new(launch::unix_ns), virtio };
    let parts = |ram_base, now_ns| {
        let (ram, clock) = (Ram::with_backing(ram_base, ram), Box::new(HostClock::from(now_ns)));
        RestoreParts { ram, vcpu, board, clock, attention }
    };
    let computer: Box<dyn Computer> = match (arch, saved.machine) {
        (Arch::Riscv64, MachineState::Riscv64(state)) => {
            let parts = parts(riscv64::board::RAM_BASE, state.now_ns);
            jit.apply(riscv64::snapshot::restore(parts, &state)?, &kernel)?
        }
        (Arch::X86_64, MachineState::X86_64(state)) => {
            let parts = parts(x86_64::board::map::RAM_BASE, state.now_ns);
            let mut machine = x86_64::snapshot::restore(parts, &state)?;
            x86_64::snapshot::reseed(&mut machine, &launch::rng_seed()?);
            jit.apply(machine, &kernel)?
        }
        _ => bail!("it is of a machine of another architecture"),
    };
    timeline.mark("the machine is restored");
    let process = match saved.running.process {
        Some(how) => Some((session.processes().next().context("its process is not there")?, how)),
        None => None,
    };
    let vm = Vm::with_session(computer, port_host, session);
    Ok(Launched {
        vm,
        console: ConsoleTail::new(serial_host),
        places: assigned,
        mounted: saved.running.mounted,
        hostname: saved.running.hostname,
        start: launch::State::Resumed { process },
    })
}

/// Where the runs are in the file.
fn pieces(runs: &[PageRun], section_offset: u64) -> Vec<Piece> {
    let mut file_offset = section_offset;
    let piece = |run: &PageRun| {
        let len_bytes = run.count * PAGE_BYTES;
        let piece = Piece { ram_offset: run.first * PAGE_BYTES, file_offset, len_bytes };
        file_offset += len_bytes;
        piece
    };
    runs.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn volumes_find_the_place_that_they_had() {
        let volumes: Vec<_> =
            ["1:/new", "2:/b", "3:/other"].map(|text| Volume::parse(OsStr::new(text)).unwrap()).into();
        let mounted = [b"/a".to_vec(), b"/b".to_vec()];
        assert_eq!(assign(&volumes, &mounted, 4), Some(vec![2, 1, 3]));
        assert_eq!(assign(&volumes, &mounted, 3), None);
        assert_eq!(assign(&volumes, &[], 3), Some(vec![0, 1, 2]));
    }
}
