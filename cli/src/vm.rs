//! A running machine with the agent in it: guest slices, the agent's session, and waiting.

use crate::snapshot::{MachineState, Saves};
use anyhow::Result;
use c2w_agent::{Event, Session, SessionError};
use c2w_devices::backend::char::CharHost;
use c2w_engine::guest::Guest;
use c2w_engine::jit::TranslatorStatistics;
use c2w_engine::jit::hot::HotRegion;
use c2w_engine::jit::verify::VerifierStatistics;
use c2w_engine::machine::{Exit, Machine, Statistics};
use c2w_engine::mem::device::Request;
use c2w_engine::mem::ram::Ram;
use std::io;
use std::time::Duration;

/// Instructions between two looks at the host: well below a millisecond of guest code.
const SLICE: u64 = 100_000;
/// The same while most of them are interpreted: what a short command prints, and that it has ended, waits for the end of
/// a slice.
const FIRST_SLICE: u64 = 10_000;
/// For how many instructions a machine with an agent runs in such slices.
const FIRST: u64 = 20_000_000;
/// Room in each direction of the agent's port and of a serial console.
pub const CHANNEL_BYTES: usize = 256 * 1024;
/// Bytes taken from the agent's port at a time.
const PORT_BYTES: usize = 64 * 1024;

/// A machine of any guest, as the front end sees it.
pub trait Computer {
    /// Runs about `budget` instructions, see [`Machine::run`].
    fn run(&mut self, budget: u64) -> Exit;
    /// Guest time in nanoseconds since power-on.
    fn now_ns(&self) -> u64;
    /// What the machine has done so far.
    fn statistics(&self) -> Statistics;
    /// What its translator has done so far, if it has one.
    fn translator_statistics(&self) -> Option<TranslatorStatistics>;
    /// Whether the guest has enabled an interrupt that a device could raise.
    fn devices_can_wake(&self) -> bool;
    /// What [`Exit::Diverged`] is about.
    fn divergence(&self) -> Option<String> {
        None
    }
    /// Writes where instructions were spent, if that was asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    fn write_profile(&self) -> Result<()> {
        Ok(())
    }
    /// Writes to the code cache what was translated, if there is one, having translated more for so long
    /// ([`Machine::save_code`]).
    ///
    /// # Errors
    /// The host's.
    fn save_code(&mut self, _effort: Duration) -> io::Result<()> {
        Ok(())
    }
    /// What was translated, if that is noted ([`Machine::hot_regions`]).
    fn hot_regions(&self) -> Vec<HotRegion> {
        Vec::new()
    }
    /// How much translated code has been checked, if any is.
    fn verifier_statistics(&self) -> Option<VerifierStatistics> {
        None
    }
    /// The state without RAM; call it between two runs.
    fn save(&self) -> MachineState;
    /// Guest RAM.
    fn ram(&self) -> &Ram;
}

impl<G: Guest + Saves> Computer for Machine<G> {
    fn run(&mut self, budget: u64) -> Exit {
        Machine::run(self, budget)
    }

    fn now_ns(&self) -> u64 {
        self.cpu.now_ns()
    }

    fn statistics(&self) -> Statistics {
        Machine::statistics(self)
    }

    fn translator_statistics(&self) -> Option<TranslatorStatistics> {
        Machine::translator_statistics(self)
    }

    fn devices_can_wake(&self) -> bool {
        G::devices_can_wake(&self.cpu)
    }

    fn save_code(&mut self, effort: Duration) -> io::Result<()> {
        Machine::save_code(self, effort)
    }

    fn hot_regions(&self) -> Vec<HotRegion> {
        Machine::hot_regions(self)
    }

    fn save(&self) -> MachineState {
        G::save(self)
    }

    fn ram(&self) -> &Ram {
        &self.cpu.ram
    }

    fn divergence(&self) -> Option<String> {
        Machine::divergence(self).map(ToString::to_string)
    }

    fn verifier_statistics(&self) -> Option<VerifierStatistics> {
        Machine::verifier_statistics(self)
    }
}

/// What a slice of guest time ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    Ran,
    /// Nothing happens before this long, unless the host has input; `None` means that only input helps.
    Idle(Option<Duration>),
    /// The guest asked for something.
    Ended(Request),
    /// Translated code is wrong: [`Computer::divergence`].
    Diverged,
}

/// Runs one slice of a machine without an agent.
pub fn step(computer: &mut dyn Computer) -> Step {
    run(computer, SLICE)
}

fn run(computer: &mut dyn Computer, slice: u64) -> Step {
    match computer.run(slice) {
        Exit::Budget => Step::Ran,
        Exit::Waiting { deadline_ns } => Step::Idle(
            deadline_ns.map(|deadline| Duration::from_nanos(deadline.saturating_sub(computer.now_ns()))),
        ),
        Exit::Request(request) => Step::Ended(request),
        Exit::Diverged => Step::Diverged,
    }
}

/// A machine whose agent this program talks to.
pub struct Vm {
    computer: Box<dyn Computer>,
    /// When so many instructions have retired, slices are long.
    first_until: u64,
    port: CharHost,
    /// The conversation with the agent.
    pub session: Session,
    /// What the port gave last, of which `taken..filled` is still to be read. Never resized: it is used every slice.
    inbox: Box<[u8]>,
    filled: usize,
    taken: usize,
}

impl Vm {
    /// A machine and the host's end of its agent port.
    pub fn new(computer: Box<dyn Computer>, port: CharHost) -> Self {
        Self::with_session(computer, port, Session::new())
    }

    /// The same with an agent that was talked to before.
    pub fn with_session(computer: Box<dyn Computer>, port: CharHost, session: Session) -> Self {
        let first_until = computer.statistics().retired.saturating_add(FIRST);
        let inbox = vec![0; PORT_BYTES].into_boxed_slice();
        Self { computer, first_until, port, session, inbox, filled: 0, taken: 0 }
    }

    /// The machine.
    pub fn computer(&self) -> &dyn Computer {
        &*self.computer
    }

    /// The machine, to change it.
    pub fn computer_mut(&mut self) -> &mut dyn Computer {
        &mut *self.computer
    }

    /// Whether nothing is on its way between the agent and this program.
    pub fn is_quiet(&self) -> bool {
        self.taken == self.filled
            && self.session.is_quiet()
            && self.port.waiting_bytes() == 0
            && self.port.room_bytes() == CHANNEL_BYTES
    }

    /// Runs the guest for a slice. Idle only if nothing waits to be sent to it.
    pub fn step(&mut self) -> Step {
        let sent = self.send();
        let is_first = self.computer.statistics().retired < self.first_until;
        match run(&mut *self.computer, if is_first { FIRST_SLICE } else { SLICE }) {
            Step::Idle(_) if sent || !self.session.outgoing().is_empty() && self.send() => Step::Ran,
            other => other,
        }
    }

    /// Gives the port what the session has to say; true if it took anything.
    fn send(&mut self) -> bool {
        let len = self.port.write(self.session.outgoing());
        self.session.sent(len);
        len > 0
    }

    /// The next thing the agent said. Call it until it gives `None`, after every step.
    ///
    /// # Errors
    /// When the agent breaks the protocol; the machine is of no use then.
    pub fn next_event(&mut self) -> Result<Option<Event>, SessionError> {
        loop {
            if self.taken == self.filled {
                self.filled = self.port.read(&mut self.inbox);
                self.taken = 0;
                if self.filled == 0 {
                    return Ok(None);
                }
            }
            let mut rest = &self.inbox[self.taken..self.filled];
            let event = self.session.next_event(&mut rest)?;
            self.taken = self.filled - rest.len();
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}
