//! Taking a snapshot of a running machine.

use super::learnt::Learnt;
use super::{Running, Saved};
use crate::console::ConsoleTail;
use crate::vm::{Step, Vm};
use anyhow::{Context, Result, bail};
use c2w_agent::Event;
use c2w_packer::image::{Image, ImageError, ImageWriter, SectionId, ram};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest sleep while the guest is idle.
const NAP: Duration = Duration::from_millis(20);

/// Runs the machine until `done` makes something of an event, or the guest waits for something that will not come.
///
/// # Errors
/// The guest ends, or `done` says so.
pub fn run_until<T>(
    vm: &mut Vm,
    console: &mut ConsoleTail,
    mut done: impl FnMut(&mut Vm, Event) -> Result<Option<T>>,
) -> Result<T> {
    loop {
        let step = vm.step();
        console.take(false);
        let mut quiet = true;
        while let Some(event) = vm.next_event()? {
            quiet = false;
            if let Some(result) = done(vm, event)? {
                return Ok(result);
            }
        }
        match step {
            Step::Ran => {}
            Step::Idle(_) if !quiet => {}
            Step::Idle(Some(wait)) => std::thread::sleep(wait.min(NAP)),
            Step::Idle(None) => bail!("the guest waits for what will not come{}", console.describe()),
            Step::Ended(_) => bail!("the guest ended the machine{}", console.describe()),
            Step::Diverged => bail!("{}", vm.computer().divergence().unwrap_or_default()),
        }
    }
}

/// Runs the machine until it has nothing to do and nothing is on its way to or from the agent, at least for `least`.
///
/// # Errors
/// The guest ends, or is never idle.
pub fn settle(vm: &mut Vm, console: &mut ConsoleTail, least: Duration) -> Result<()> {
    let start = Instant::now();
    let most = Duration::from_secs(60);
    loop {
        let step = vm.step();
        console.take(false);
        while let Some(event) = vm.next_event()? {
            if let Event::Log(text) = event {
                bail!("the guest's agent complains: {}", text.trim_end());
            }
        }
        match step {
            Step::Ran => {}
            Step::Idle(_) if vm.is_quiet() && start.elapsed() >= least => return Ok(()),
            Step::Idle(wait) => std::thread::sleep(wait.unwrap_or(NAP).min(NAP)),
            Step::Ended(_) => bail!("the guest ended the machine{}", console.describe()),
            Step::Diverged => bail!("{}", vm.computer().divergence().unwrap_or_default()),
        }
        if start.elapsed() > most {
            bail!("the guest has not become idle in {} s", most.as_secs());
        }
    }
}

/// Appends a snapshot of the machine, which is between two runs and quiet, to an image that has the rest.
///
/// # Errors
/// The file cannot be written.
pub fn append(writer: &mut ImageWriter, vm: &Vm, running: Running) -> Result<()> {
    let memory = vm.computer().ram().contents();
    let runs = ram::runs(memory);
    let path = writer.target().to_path_buf();
    writer.add_built(SectionId::RamSnapshot, |file, offset| {
        let written = ram::write(file, offset, memory, &runs);
        let len_bytes = written.map_err(|error| ImageError::Write { path, error })?;
        Ok::<_, ImageError>((len_bytes, ()))
    })?;
    let memory_bytes = memory.len() as u64;
    let (machine, session) = (vm.computer().save(), vm.session.save());
    let saved = Saved { memory_bytes, runs, machine, session, running };
    let state = saved.encode().context("cannot write the machine's state")?;
    Ok(writer.add_bytes(SectionId::MachineState, &state)?)
}

/// Writes an image like `image` whose snapshot is of this machine, which is between two runs and quiet.
///
/// # Errors
/// A file cannot be read or written. There is no partial image then.
pub fn write(image: &Image, vm: &Vm, running: Running, output: &Path) -> Result<()> {
    let mut writer = ImageWriter::create(output, image.arch())?;
    for section in &image.header().sections {
        match section.id {
            SectionId::RamSnapshot | SectionId::MachineState | SectionId::Profile => {}
            id => writer.copy_section(image, id)?,
        }
    }
    append(&mut writer, vm, running)?;
    writer.finish()?;
    Ok(())
}

/// Appends what a start needs.
///
/// # Errors
/// The file cannot be written.
pub fn append_learnt(writer: &mut ImageWriter, learnt: &Learnt) -> Result<()> {
    let bytes = learnt.encode().context("cannot write what a start needs")?;
    Ok(writer.add_bytes(SectionId::Profile, &bytes)?)
}
