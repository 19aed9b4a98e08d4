//! Talking to the agent of a guest, whoever emulates the computer: both machines are driven, and
//! timed, by the same code.

use crate::assets::SHARED_FILE;
use anyhow::{Context, Result, bail, ensure};
use c2w_agent::{Event, MountSpec, Session, StartSpec};
use std::time::{Duration, Instant};

/// The mount tag of the shared directory.
pub const SHARE_TAG: &str = "share0";
/// Where it is mounted in the guest.
const SHARE_TARGET: &str = "/share";
/// The longest 9p messages, and how `c2w-run` has a share mounted.
const SHARE_MSIZE: u32 = 512_000;
const SHARE_OPTIONS: &[u8] = b"cache=mmap";

/// How long anything may take that is not told otherwise; what takes longer hangs.
pub const LIMIT: Duration = Duration::from_secs(600);

/// What was asked of a guest or a program is not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has not ended after {} s: it hangs, or --timeout is too short", .0.as_secs_f64())]
pub struct TimedOut(pub Duration);

/// A running machine with the agent in it.
pub trait Guest {
    /// The conversation with the agent.
    fn session(&mut self) -> &mut Session;

    /// Lets the guest run until the agent has said something; `None` if it has not by then.
    ///
    /// # Errors
    /// When the machine ended or the agent broke the protocol.
    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>>;

    /// Processor time that the machine has used on the host, all threads together.
    ///
    /// # Errors
    /// When the host does not tell.
    fn cpu_time(&self) -> Result<Duration>;

    /// Most memory that the process which emulates the machine has had at a time, if it does nothing else.
    fn peak_bytes(&self) -> Option<u64>;
}

/// As [`Guest::next_event`], for something that may take so long and began at `start`.
fn next_event(guest: &mut dyn Guest, start: Instant, limit: Duration) -> Result<Event> {
    guest.next_event(start + limit)?.context(TimedOut(limit))
}

/// How long something took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// On the clock.
    pub wall: Duration,
    /// Of the host's processors.
    pub cpu: Duration,
}

/// Waits for the agent's ready mark, so long at most.
///
/// # Errors
/// As [`Guest::next_event`]; [`TimedOut`].
pub fn wait_ready(guest: &mut dyn Guest, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while !matches!(next_event(guest, start, limit).context("the boot")?, Event::Ready(_)) {}
    Ok(())
}

/// Mounts the shared directory and makes a node for the second disk, which a container has not.
///
/// # Errors
/// When the guest cannot do it.
pub fn furnish(guest: &mut dyn Guest) -> Result<()> {
    let mount = MountSpec {
        tag: SHARE_TAG.into(),
        source: Vec::new(),
        target: SHARE_TARGET.into(),
        read_only: false,
        msize: SHARE_MSIZE,
        options: SHARE_OPTIONS.to_vec(),
    };
    let (start, request) = (Instant::now(), guest.session().mount(mount));
    loop {
        match next_event(guest, start, LIMIT)? {
            Event::Done(done) if done == request => break,
            Event::Failed(failed, why) if failed == request => bail!("cannot mount the share: {why}"),
            _ => {}
        }
    }
    let script = format!(
        "test -f {SHARE_TARGET}/{SHARED_FILE} && while read major minor blocks name; do \
         [ \"$name\" = vdb ] && mknod /dev/vdb b $major $minor; done < /proc/partitions; test -b /dev/vdb"
    );
    run(guest, &script).map(drop)
}

/// Runs a shell script and tells how long it took, from the request to the news of its end.
///
/// # Errors
/// When it could not be started or did not exit with status 0.
pub fn run(guest: &mut dyn Guest, script: &str) -> Result<Took> {
    execute(guest, &["sh", "-c", script], LIMIT).map(|(took, _)| took)
}

/// Runs a program and tells how long it took, from the request to the news of its end, and what it said.
///
/// # Errors
/// When it could not be started, did not exit with status 0, or not within `limit`: then it goes on.
pub fn execute(guest: &mut dyn Guest, argv: &[&str], limit: Duration) -> Result<(Took, String)> {
    let spec = StartSpec {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_vec(), b"LC_ALL=C".to_vec()],
        privileged: true,
        ..StartSpec::default()
    };
    let (start, cpu) = (Instant::now(), guest.cpu_time()?);
    let process = guest.session().start(spec);
    let mut said = Vec::new();
    loop {
        match next_event(guest, start, limit)? {
            Event::Output(of, output, bytes) => {
                guest.session().consumed(of, output, bytes.len());
                said.extend(bytes);
            }
            Event::StartFailed(of, _, why) if of == process => bail!("cannot start {}: {why}", argv[0]),
            Event::Exited(of, status) if of == process => {
                let took = Took { wall: start.elapsed(), cpu: guest.cpu_time()? - cpu };
                let said = String::from_utf8_lossy(&said).into_owned();
                ensure!(status.exit_status() == 0, "`{}` ended with {status:?}: {said}", argv.join(" "));
                return Ok((took, said));
            }
            _ => {}
        }
    }
}
