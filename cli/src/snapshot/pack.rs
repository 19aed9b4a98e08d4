//! The snapshot of a new image: its machine is booted here, up to the moment at which the agent waits for a container,
//! or further, as the options say.

use super::learnt::Learnt;
use super::live::TextWatch;
use super::resume::{self, Start};
use super::{Process, Running, Saved, programs, take};
use crate::console::ConsoleTail;
use crate::container::{self, RunOptions};
use crate::jit::{self, Jit, JitOptions, Kept};
use crate::launch::{self, Launched, MOST_VOLUMES, State};
use crate::timeline::Timeline;
use crate::vm::Vm;
use anyhow::{Context, Result, bail};
use c2w_agent::{Event, FileSpec, Output, RequestId, StartSpec};
use c2w_packer::image::{ContainerConfig, Image, ImageWriter};
use std::io::Write;
use std::time::Duration;

/// How long the machine runs on after the agent is ready: the kernel has work of its own to finish, some of which it puts
/// off for a second after it has booted.
const SETTLE: Duration = Duration::from_millis(1200);
/// What translating for the first run of the image on this host may take.
const EFFORT: Duration = Duration::from_secs(2);
/// The same for the next time that an image is packed: what only runs while a machine boots.
const BOOT_EFFORT: Duration = Duration::from_millis(200);

/// How a snapshot is made.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// How guest code is run.
    pub jit: Jit,
    /// Where translated code is kept.
    pub code_cache: Kept,
    /// Run this in a container first, so that what it reads is in the guest's memory.
    pub warm: Vec<Vec<u8>>,
    /// Start the image's command, and take the snapshot when it prints this.
    pub when: Option<String>,
}

impl SnapshotOptions {
    fn jit(&self) -> JitOptions {
        JitOptions { code_cache: self.code_cache.clone(), ..self.jit.into() }
    }
}

/// Boots the image's machine and appends the snapshot.
///
/// # Errors
/// It does not come to the agent, what is to run before fails, or the file cannot be written.
pub fn append(writer: &mut ImageWriter, options: &SnapshotOptions) -> Result<()> {
    let image = writer.preview()?;
    let mut launched = boot(&image, options).context("cannot make the snapshot")?;
    let Launched { vm, console, .. } = &mut launched;
    if !options.warm.is_empty() {
        let run = RunOptions { command: words(&options.warm), ..RunOptions::default() };
        warm(vm, console, &image.manifest().config, &run).context("--warm")?;
    }
    let process = match &options.when {
        Some(text) => Some(serve(vm, console, &image.manifest().config, text).context("--snapshot-when")?),
        None => None,
    };
    let hostname = match process {
        Some(_) => None,
        None => Some(prepare(vm, console, &image).context("cannot make the snapshot")?),
    };
    take::settle(vm, console, SETTLE).context("cannot make the snapshot")?;
    let running = Running { process, mounted: Vec::new(), hostname };
    take::append(writer, vm, running)?;
    jit::save_code(vm.computer_mut(), BOOT_EFFORT);
    drop(launched);
    let learnt = trial(&writer.preview()?, options).context("cannot resume the snapshot")?;
    take::append_learnt(writer, &learnt)
}

fn words(command: &[Vec<u8>]) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    command.iter().cloned().map(std::ffi::OsString::from_vec).collect()
}

/// Boots up to the agent's being ready.
fn boot(image: &Image, options: &SnapshotOptions) -> Result<Launched> {
    let mut launched = launch::cold(image, &[None; MOST_VOLUMES], None, options.jit())?;
    let Launched { vm, console, .. } = &mut launched;
    // It says so when it has booted and as the answer to the session's greeting.
    for _ in 0..2 {
        take::run_until(vm, console, |_, event| Ok(matches!(event, Event::Ready(_)).then_some(())))?;
    }
    Ok(launched)
}

/// Does what need not be done at every start: gives the next container its usual host name, makes it, and has the guest do
/// a start once, of nothing, and read the programs that are likely to be started, so that what that takes is in its memory.
fn prepare(vm: &mut Vm, console: &mut ConsoleTail, image: &Image) -> Result<Vec<u8>> {
    start_nothing(vm, console)?;
    let request = vm.session.read_files(programs::likely(image)?);
    answer(vm, console, request)?;
    let hostname = container::hostname(&RunOptions::default()).to_vec();
    name(vm, console, &hostname)?;
    let request = vm.session.prepare();
    answer(vm, console, request)?;
    Ok(hostname)
}

/// Starts what is no program.
fn start_nothing(vm: &mut Vm, console: &mut ConsoleTail) -> Result<()> {
    vm.session.start(StartSpec { argv: vec![b"/".to_vec()], ..StartSpec::default() });
    take::run_until(vm, console, |_, event| {
        Ok(matches!(event, Event::StartFailed(..) | Event::Exited(..)).then_some(()))
    })
}

/// Gives the next container its host name.
fn name(vm: &mut Vm, console: &mut ConsoleTail, hostname: &[u8]) -> Result<()> {
    let mut waiting = vec![vm.session.set_hostname(hostname)];
    for (path, contents) in container::host_files(hostname) {
        waiting.push(vm.session.write_file(FileSpec {
            path: path.as_bytes().to_vec(),
            mode: 0o644,
            contents,
        }));
    }
    waiting.into_iter().try_for_each(|request| answer(vm, console, request))
}

/// Starts what these options start.
fn start(
    vm: &mut Vm,
    console: &mut ConsoleTail,
    config: &ContainerConfig,
    options: &RunOptions,
) -> Result<()> {
    let spec = container::start_spec(config, options)?;
    name(vm, console, container::hostname(options))?;
    vm.session.start(spec);
    Ok(())
}

/// Waits for the answer to a request.
fn answer(vm: &mut Vm, console: &mut ConsoleTail, request: RequestId) -> Result<()> {
    take::run_until(vm, console, |_, event| match event {
        Event::Done(done) => Ok((done == request).then_some(())),
        Event::Failed(_, message) => bail!("{message}"),
        _ => Ok(None),
    })
}

/// Runs a command to its end, which has to be a good one.
fn warm(
    vm: &mut Vm,
    console: &mut ConsoleTail,
    config: &ContainerConfig,
    options: &RunOptions,
) -> Result<()> {
    start(vm, console, config, options)?;
    run_process(vm, console, true, |_, _| false).map(drop)
}

/// Starts the image's command and stops it when it has printed the text.
fn serve(vm: &mut Vm, console: &mut ConsoleTail, config: &ContainerConfig, text: &str) -> Result<Process> {
    start(vm, console, config, &RunOptions::default())?;
    let mut watch = TextWatch::new(text);
    if !run_process(vm, console, true, |output, bytes| watch.sees(output, bytes))? {
        bail!("the command ended without printing {text:?}");
    }
    take::settle(vm, console, Duration::ZERO)?;
    let request = vm.session.freeze();
    answer(vm, console, request)?;
    Ok(Process { tty: false, stdin: false })
}

/// Follows the process, may show what it prints on standard error, and ends when `stop` says so (true) or the process ends.
fn run_process(
    vm: &mut Vm,
    console: &mut ConsoleTail,
    show: bool,
    mut stop: impl FnMut(Output, &[u8]) -> bool,
) -> Result<bool> {
    take::run_until(vm, console, |vm, event| match event {
        Event::Output(process, output, bytes) => {
            if show {
                // A closed stderr takes nothing from the snapshot.
                let _ = std::io::stderr().write_all(&bytes);
            }
            vm.session.consumed(process, output, bytes.len());
            Ok(stop(output, &bytes).then_some(true))
        }
        Event::StartFailed(_, _, message) => bail!("{message}"),
        Event::Exited(_, status) if status.exit_status() != 0 => {
            bail!("the command ended with status {}", status.exit_status())
        }
        Event::Exited(..) => Ok(Some(false)),
        _ => Ok(None),
    })
}

/// Goes on from the snapshot as a run would on a host that has none of its code, and tells what that needs: the command that
/// warmed it once more, or else a start of nothing, so that no program of the image has an effect.
fn trial(image: &Image, options: &SnapshotOptions) -> Result<Learnt> {
    let jit = JitOptions { notes_hot: true, ..options.jit() };
    let run = RunOptions { jit, command: words(&options.warm), ..RunOptions::default() };
    let look = RunOptions { command: Vec::new(), ..run.clone() };
    let Start::Resumed(mut launched) = resume::machine(image, &look, &mut Timeline::default())? else {
        bail!("it is not usable")
    };
    let Launched { vm, console, start: state, .. } = &mut *launched;
    if let State::Resumed { process: Some(_) } = state {
        // What a service does next is not known; its thawing is.
        let request = vm.session.thaw();
        answer(vm, console, request)?;
    } else if run.command.is_empty() {
        start_nothing(vm, console)?;
    } else {
        start(vm, console, &image.manifest().config, &run)?;
        // What it says now was said before.
        run_process(vm, console, false, |_, _| false)?;
    }
    jit::save_code(vm.computer_mut(), EFFORT);
    let saved = Saved::of(image)?.context("there is no state")??;
    Ok(Learnt::of(image, &saved, vm.computer().ram(), &vm.computer().hot_regions())?)
}
