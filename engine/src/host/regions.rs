//! What hosts have in common whose code an optimizing compiler makes: regions by number, the cells that link them, and how
//! a vCPU enters and leaves.

use super::call_out::vcpu_of;
use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::{Guest, Trap, TrapCause};
use crate::ir::region::Region;
use crate::jit::call_out::Leave;
use crate::lower::calls::{CallOut, Reason, unlinked_cell};
use crate::lower::links::{Plan, links};
use std::error::Error;

/// Why a host failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no room for another region: all are to be discarded.
    #[error("there is no room for another region")]
    Full,
    /// The compiler refused a region, or what it made could not be run.
    #[error("{0}")]
    Compiler(Box<dyn Error + Send + Sync>),
}

/// Number of an installed region, valid until they are discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeId(pub u32);

/// A way out of a region that leads to no region yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCell(pub u32);

/// Why [`RegionHost::enter`] returned. `Cpu::pc` is where to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The instruction budget is used up or the run loop has something to look at.
    Countdown,
    /// The jump cache does not know the address.
    Jump,
    /// Nothing is linked to the way that was taken.
    Unlinked(LinkCell),
    /// The instruction at the address trapped.
    Trapped(Trap),
    /// The instruction at the address is to be interpreted.
    Interpret,
}

/// Bytes of a [`RegionHost::keep`] of this very build, from a file that nobody but this user can have written: whoever makes
/// one promises that. They are run.
#[derive(Clone, Copy, Debug)]
pub struct OwnCode<'a>(pub(crate) &'a [u8]);

/// Compiles regions, on any thread.
pub trait Compiler: Send + 'static {
    /// A compiled region, to be installed.
    type Compiled: Send + 'static;
    /// Most regions that are compiled together.
    const AT_ONCE: usize = 1;
    /// Whether regions can be compiled in a part of the time that it takes to compile them well, to code that is slower.
    const IS_QUICK: bool = false;

    /// Compiles a region as well as can be.
    ///
    /// # Errors
    /// [`HostError::Compiler`].
    fn compile(&mut self, region: &Region, plan: Plan) -> Result<Self::Compiled, HostError>;

    /// Compiles regions so that it is soon done, if it can: one, or several together whose link cells follow each other.
    ///
    /// # Errors
    /// [`HostError::Compiler`].
    fn compile_quickly(&mut self, mut regions: Vec<(Region, Plan)>) -> Result<Self::Compiled, HostError> {
        let (region, plan) = regions.pop().expect("there is one, and no more are compiled together");
        self.compile(&region, plan)
    }
}

/// Call-outs that regions have made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOuts {
    /// All of them.
    pub all: u64,
    /// Calls of helpers.
    pub helpers: u64,
}

impl CallOuts {
    /// Counts one.
    #[inline(always)]
    pub(super) fn count(&mut self, call: CallOut) {
        self.all += 1;
        self.helpers += u64::from(call == CallOut::Helper);
    }
}

impl std::ops::Add for CallOuts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, helpers: self.helpers + other.helpers }
    }
}

/// Keeps and runs the regions of one vCPU.
pub trait RegionHost<G: Guest> {
    /// What compiles for it.
    type Compiler: Compiler;

    /// Makes a compiler.
    fn compiler(&self) -> Self::Compiler;

    /// Prepares compiling a region whose loads and stores use this TLB context.
    ///
    /// # Errors
    /// [`HostError::Full`].
    fn plan(&mut self, region: &Region, data_context: usize) -> Result<Plan, HostError> {
        self.plan_links(links(region), data_context)
    }

    /// The same for a region with these [`links`].
    ///
    /// # Errors
    /// [`HostError::Full`].
    fn plan_links(&mut self, links: Vec<i64>, data_context: usize) -> Result<Plan, HostError>;

    /// Compiled regions in bytes, for a later run of the program, if there is such a form.
    fn keep(&self, _compiled: &<Self::Compiler as Compiler>::Compiled) -> Option<Vec<u8>> {
        None
    }

    /// The compiled regions of which these bytes were made, with other link cells. `None` if they were for another processor.
    fn revive(&self, _code: OwnCode<'_>, _plans: &[Plan]) -> Option<<Self::Compiler as Compiler>::Compiled> {
        None
    }

    /// Makes compiled regions ready to be entered, and gives the number of the first. They must have been planned since regions
    /// were last discarded. Regions are numbered from 0 on.
    ///
    /// # Errors
    /// [`HostError::Full`], or the compiler's.
    fn install(&mut self, compiled: &<Self::Compiler as Compiler>::Compiled) -> Result<CodeId, HostError>;

    /// Compiles and installs a region.
    ///
    /// # Errors
    /// As [`RegionHost::plan`], [`Compiler::compile`] and [`RegionHost::install`].
    fn compile(&mut self, region: &Region, data_context: usize) -> Result<CodeId, HostError> {
        let plan = self.plan(region, data_context)?;
        let compiled = self.compiler().compile(region, plan)?;
        self.install(&compiled)
    }

    /// Lets a way out lead to a region: the one at its target, in the same guest page and mode.
    fn link(&mut self, cell: LinkCell, code: CodeId);

    /// Ends all links to a region; entries of the jump cache are the caller's to forget.
    fn unlink(&mut self, code: CodeId);

    /// Lets jumps to an address, in the vCPU's current context, lead to a region.
    fn note_jump(&self, cpu: &mut Cpu<G>, pc: Gva, code: CodeId);

    /// Discards all regions. No number of one stays valid; entries of the jump cache are the caller's to forget.
    ///
    /// # Errors
    /// The compiler's.
    fn discard(&mut self) -> Result<(), HostError>;

    /// Bytes of code that regions take, as far as the host knows.
    fn code_bytes(&self) -> u64;

    /// What regions have called out for so far.
    fn call_outs(&self) -> CallOuts;

    /// Runs a region, which is one for `cpu.pc`, and those that follow, for about `budget` instructions.
    ///
    /// # Errors
    /// A region did what none does, such as reaching beyond its memory.
    fn enter(&mut self, cpu: &mut Cpu<G>, code: CodeId, budget: u64) -> Result<Left, HostError>;
}

/// Who leads where: the book-keeping of link cells.
#[derive(Default)]
pub struct Cells {
    /// For each cell given out, the distance of its target from its page.
    targets: Vec<i64>,
    /// For each region, the cells that lead to it.
    incoming: Vec<Vec<u32>>,
}

impl Cells {
    /// Gives a region with these links its cells, or `None` if there are no more than `limit`.
    pub fn plan(&mut self, links: Vec<i64>, data_context: usize, limit: usize) -> Option<Plan> {
        let first_link = self.targets.len() as u32;
        if self.targets.len() + links.len() > limit {
            return None;
        }
        self.targets.extend(&links);
        Some(Plan { data_context, links, first_link, jumps: Vec::new(), is_brief: false })
    }

    /// Whether a plan is of cells given out since the last [`Cells::clear`].
    pub fn knows(&self, plan: &Plan) -> bool {
        plan.cells().end as usize <= self.targets.len()
    }

    /// The next region has been installed.
    pub fn installed(&mut self) {
        self.incoming.push(Vec::new());
    }

    /// A cell leads to a region.
    pub fn link(&mut self, LinkCell(cell): LinkCell, CodeId(code): CodeId) {
        self.incoming[code as usize].push(cell);
    }

    /// The cells that lead to a region, and do so no longer.
    pub fn unlink(&mut self, CodeId(code): CodeId) -> Vec<u32> {
        std::mem::take(&mut self.incoming[code as usize])
    }

    /// Forgets all cells and regions.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Prepares a vCPU for code that may retire about `budget` instructions, and tells what [`Cpu::retired`] will be when they are
/// used up.
pub fn prepare<G: Guest>(cpu: &mut Cpu<G>, budget: u64) -> u64 {
    let (page_base, tag) = (cpu.pc.page_start().0, cpu.context_tag());
    let vcpu = vcpu_of(cpu);
    vcpu.page_base = page_base;
    vcpu.context_tag = tag;
    vcpu.countdown = budget as i64;
    vcpu.withheld = 0;
    vcpu.moved = 0;
    cpu.retired.wrapping_add(budget)
}

/// Brings a vCPU up to date after code has `returned`, or a call-out has ended it.
pub fn settle<G: Guest>(
    cpu: &mut Cpu<G>,
    end: u64,
    returned: i32,
    leave: Option<Leave>,
    cells: &Cells,
) -> Left {
    let vcpu = vcpu_of(cpu);
    let (left, pc) = match (leave, unlinked_cell(returned)) {
        (Some(Leave::Trap(trap)), _) => (Left::Trapped(trap), vcpu.pc),
        (Some(Leave::Interpret), _) => (Left::Interpret, vcpu.pc),
        (Some(Leave::Look), _) => (Left::Countdown, vcpu.pc),
        (None, Some(cell)) => {
            let pc = vcpu.page_base.wrapping_add_signed(cells.targets[cell as usize]);
            (Left::Unlinked(LinkCell(cell)), pc)
        }
        (None, None) => (left_by(vcpu.exit, [vcpu.spill[0], vcpu.spill[1]]), vcpu.pc),
    };
    let remaining = vcpu.countdown.wrapping_add(vcpu.withheld);
    cpu.pc = Gva(pc);
    cpu.retired = end.wrapping_sub(remaining as u64);
    left
}

fn left_by(exit: u64, [cause, value]: [u64; 2]) -> Left {
    match Reason::from_number(exit) {
        Some(Reason::Countdown) => Left::Countdown,
        Some(Reason::Trap) => Left::Trapped(Trap::new(TrapCause(cause as u32), value)),
        Some(Reason::Jump) | None => Left::Jump,
    }
}
