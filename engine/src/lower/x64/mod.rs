//! The lowering to x86-64 code: one pass over each block of a region, without an optimizer behind it.
//!
//! For the whole of a region the guest slots that it uses most have a register each ([`plan`]); all other slots are in
//! memory. Between blocks nothing else is in registers, so ways between blocks cost a jump at most. Inside a block,
//! values get the registers that are left ([`block`]).
//!
//! State is precise at every place that may leave the middle of a block, at no cost on the way: such a place is a
//! *site*, and its description says which register holds which slot ([`Site`]). What a run loop has to do there it
//! does over the saved registers.
//!
//! The same goes for pairs of slots that hold vectors and the vector registers ([`vectors`]).
//!
//! Accesses of a block that are near each other share one look at the TLB ([`block`]), and those of a loop that walks through
//! memory need none for many turns ([`windows`]).
//!
//! Code that is to be small ([`Request::is_compact`]) has nothing in registers between blocks, and leaves to code that all
//! regions share ([`stubs`]) what other code does in line: looking addresses up, with the call-out where they are not found, and
//! finding the code of other pages. Its ways out stand where its blocks end.
//!
//! A region may be entered at other blocks than the first one, too ([`EntryPoint`]).
//!
//! Registers: RBX points into the vCPU ([`BIAS`]), R15 counts down, RAX and RCX hold nothing between operations.

pub mod asm;
#[cfg(test)]
mod asm_tests;
mod block;
mod boxes;
mod cold;
mod encodings;
mod floats;
mod flow;
mod memory;
mod ops;
mod plan;
pub mod stubs;
mod vectors;
mod windows;

use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::block::Op;
use crate::ir::region::Region;
use asm::{Asm, Finished, Mem, Reg, Xmm};
use plan::Plan;
use serde::{Deserialize, Serialize};
use stubs::Stubs;

/// RBX points so many bytes into the vCPU, so that the first slots are in reach of short displacements.
pub const BIAS: usize = 128;
/// Where generated code finds the vCPU.
pub(crate) const STATE: Reg = Reg::RBX;
/// Counts instructions down.
pub(crate) const COUNTDOWN: Reg = Reg::R15;

/// The place of a field of the vCPU.
macro_rules! field {
    ($($field:tt)+) => {
        $crate::lower::x64::asm::Mem::at(
            $crate::lower::x64::STATE,
            core::mem::offset_of!($crate::vcpu::Vcpu, $($field)+) as i32 - $crate::lower::x64::BIAS as i32,
        )
    };
}
use field;

/// The place of a slot.
pub(crate) fn slot(slot: Slot) -> Mem {
    let field = field!(slots);
    Mem { disp: field.disp + 8 * i32::from(slot.0), ..field }
}

/// Where a value is when generated code calls out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A constant.
    Const(u64),
    /// A register.
    Reg(Reg),
    /// A number of [`crate::vcpu::Vcpu::spill`].
    Spill(u16),
}

/// What becomes of what a site gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing, or there is none.
    Nothing,
    /// It goes to a register.
    Reg(Reg),
    /// Code goes on with the access that the site has made: at the host's address in RAX, where it does no harm and finds what
    /// the site gives.
    Access,
}

impl From<Option<Reg>> for Outcome {
    fn from(to: Option<Reg>) -> Self {
        to.map_or(Self::Nothing, Self::Reg)
    }
}

/// A place in generated code that calls out to the run loop: to do what is not done in line, or to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// What is to be done.
    pub op: Op,
    /// Where its operands are.
    pub operands: [Place; 4],
    /// How many there are.
    pub count: u8,
    /// What becomes of what it gives.
    pub outcome: Outcome,
    /// Where the instruction is, from the start of the entry's page.
    pub insn: i64,
    /// Instructions of the block from this one on, which have been counted and have not retired yet.
    pub unretired: u32,
    /// Slots whose writes are put off: they are made if this site leaves.
    pub pending: Vec<(Slot, Place)>,
}

/// A way out of a region that can be linked to other code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where in the code the four-byte displacement of its jump is.
    pub jump: usize,
    /// Where the jump leads if it is not linked.
    pub unlinked: usize,
    /// Where it leads in the guest, from the start of the page.
    pub to: i64,
    /// If that is in another page, where in the code the conditions of the jump are.
    pub far: Option<usize>,
}

impl Link {
    /// Bytes of the conditions of a jump to another page: an eight-byte number that the vCPU's `far_tag` has to be, which is none
    /// while it is 0, and behind another instruction's operation code one that the address of this page has to be.
    pub const FAR_BYTES: usize = FAR_BASE + 8;
}

/// Where the second condition of a jump to another page is, from the first one on.
const FAR_BASE: usize = 10;

/// What is written over the conditions of a jump to another page, from the first one on, each with its place.
pub fn far_conditions(tag: u64, page_base: u64) -> [(usize, [u8; 8]); 2] {
    [(0, tag.to_le_bytes()), (FAR_BASE, page_base.to_le_bytes())]
}

/// A register that holds a slot all through a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The slot.
    pub slot: Slot,
    /// The register.
    pub reg: Reg,
}

/// A vector register that holds a pair of slots all through a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorHome {
    /// The first of the pair.
    pub slot: Slot,
    /// The register.
    pub reg: Xmm,
    /// It holds nothing between instructions.
    pub is_scratch: bool,
}

/// Where code is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// Where in its page the block is that it begins with there.
    pub place: u16,
    /// Guest instructions of that block.
    pub insns: u16,
    /// Bytes of their code.
    pub len_bytes: u16,
    /// Where in the code other code enters.
    pub entry: u32,
    /// Where the run loop enters, which has counted the block down.
    pub start: u32,
}

/// A lowered region. In its code, sites and links are numbered from 0 until [`number`] says otherwise.
#[derive(Debug)]
pub struct Lowered {
    /// The code, for the start of the memory that all code is in.
    pub code: Vec<u8>,
    /// Where in the code the four-byte numbers of sites stand.
    pub site_numbers: Vec<u32>,
    /// Where in the code displacements stand of jumps and calls to stubs, as [`asm::Finished::fixed`] has them.
    pub stub_jumps: Vec<u32>,
    /// Where it is entered; never empty.
    pub entries: Vec<EntryPoint>,
    /// What calls out.
    pub sites: Vec<Site>,
    /// Ways out.
    pub links: Vec<Link>,
    /// Which slots are in registers.
    pub homes: Vec<Home>,
    /// Which pairs of slots are in vector registers.
    pub vector_homes: Vec<VectorHome>,
}

/// What was made of a region, in whatever form. Sites and links are numbered from 0 in its code.
pub trait Translated {
    /// The code.
    fn code(&self) -> &[u8];
    /// Where it is entered; never empty.
    fn entries(&self) -> &[EntryPoint];
    /// Where in it the four-byte numbers of sites stand.
    fn site_numbers(&self) -> impl Iterator<Item = u32>;
    /// Where in it displacements stand of jumps and calls to stubs.
    fn stub_jumps(&self) -> impl Iterator<Item = u32>;
    /// Ways out.
    fn links(&self) -> impl Iterator<Item = Link>;
    /// How many there are.
    fn link_count(&self) -> usize;
    /// Which slots are in registers.
    fn homes(&self) -> impl ExactSizeIterator<Item = Home>;
    /// Which pairs of slots are in vector registers.
    fn vector_homes(&self) -> impl ExactSizeIterator<Item = VectorHome>;
}

impl Translated for Lowered {
    fn code(&self) -> &[u8] {
        &self.code
    }

    fn entries(&self) -> &[EntryPoint] {
        &self.entries
    }

    fn site_numbers(&self) -> impl Iterator<Item = u32> {
        self.site_numbers.iter().copied()
    }

    fn stub_jumps(&self) -> impl Iterator<Item = u32> {
        self.stub_jumps.iter().copied()
    }

    fn links(&self) -> impl Iterator<Item = Link> {
        self.links.iter().copied()
    }

    fn link_count(&self) -> usize {
        self.links.len()
    }

    fn homes(&self) -> impl ExactSizeIterator<Item = Home> {
        self.homes.iter().copied()
    }

    fn vector_homes(&self) -> impl ExactSizeIterator<Item = VectorHome> {
        self.vector_homes.iter().copied()
    }
}

/// Bytes from the link's stub to the four-byte number in it: behind the operation code of a move to EAX.
const LINK_NUMBER: usize = 1;

/// Bytes of that stub up to the end of the number.
pub const LINK_BYTES: usize = LINK_NUMBER + 4;

/// Code that does nothing but go on somewhere.
pub struct LoweredJump {
    /// The code, for the start of the memory that all code is in.
    pub code: Vec<u8>,
    /// As [`Lowered::stub_jumps`].
    stub_jumps: Vec<u32>,
}

impl LoweredJump {
    /// Makes it good for the place that it has been copied to.
    pub fn settle(&self, code: &mut [u8], at: usize) {
        add_all(code, self.stub_jumps.iter().map(|&jump| (jump as usize, (at as u32).wrapping_neg())));
    }
}

/// Makes code of what was made, which has been copied to a place of the memory that all code is in, and in which sites and links
/// are numbered from these numbers on.
///
/// # Panics
/// There is no code where something is said to stand.
pub fn settle(code: &mut [u8], made: &impl Translated, at: usize, first_site: u32, first_link: u32) {
    let sites = made.site_numbers().map(|at| (at as usize, first_site));
    let links = made.links().map(|link| (link.unlinked + LINK_NUMBER, first_link));
    let jumps = made.stub_jumps().map(|jump| (jump as usize, (at as u32).wrapping_neg()));
    add_all(code, sites.chain(links).chain(jumps));
}

/// Adds to four-byte numbers in code.
fn add_all(code: &mut [u8], what: impl Iterator<Item = (usize, u32)>) {
    for (at, add) in what {
        let number = code[at..].first_chunk_mut().expect("numbers stand in the code");
        *number = u32::from_le_bytes(*number).wrapping_add(add).to_le_bytes();
    }
}

/// What the lowering has to know besides the region.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The guest's helpers.
    pub helpers: &'a [HelperInfo],
    /// The guest's [`crate::guest::Guest::VECTOR_SCRATCH`].
    pub vector_scratch: Option<Slot>,
    /// The guest's [`crate::guest::Guest::FLOAT_ENVIRONMENT`].
    pub float_environment: Option<Slot>,
    /// Slots that are written much more often than read.
    pub transient: &'a [Slot],
    /// Slots that hold numbers below 256 only.
    pub small: &'a [Slot],
    /// TLB context of data accesses.
    pub context: usize,
    /// It is to be small rather than fast: code that runs seldom spends most of its time on being fetched.
    pub is_compact: bool,
}

/// Instructions beyond the first x86-64 level that the host may have.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    popcnt: bool,
    lzcnt: bool,
    bmi: bool,
    bmi2: bool,
    sse3: bool,
    ssse3: bool,
    sse41: bool,
    sse42: bool,
    aes: bool,
    pclmul: bool,
    sha: bool,
    fma: bool,
}

impl Features {
    /// Those of this machine.
    pub fn detect() -> Self {
        Self {
            popcnt: std::is_x86_feature_detected!("popcnt"),
            lzcnt: std::is_x86_feature_detected!("lzcnt"),
            bmi: std::is_x86_feature_detected!("bmi1"),
            bmi2: std::is_x86_feature_detected!("bmi2"),
            sse3: std::is_x86_feature_detected!("sse3"),
            ssse3: std::is_x86_feature_detected!("ssse3"),
            sse41: std::is_x86_feature_detected!("sse4.1"),
            sse42: std::is_x86_feature_detected!("sse4.2"),
            aes: std::is_x86_feature_detected!("aes"),
            pclmul: std::is_x86_feature_detected!("pclmulqdq"),
            sha: std::is_x86_feature_detected!("sha"),
            fma: std::is_x86_feature_detected!("fma"),
        }
    }
}

/// Lowers regions; keeps its memory from one to the next.
pub struct Lowering {
    asm: Asm,
    features: Features,
    stubs: Stubs,
    sites: Vec<Site>,
    links: Vec<Link>,
    plan: Plan,
    block: block::Scratch,
    windows: windows::Windows,
}

impl Lowering {
    /// For this machine and a guest with this [`crate::guest::Guest::FLOAT_ENVIRONMENT`].
    pub fn new(float_environment: Option<Slot>) -> Self {
        Self {
            asm: Asm::default(),
            features: Features::detect(),
            stubs: Stubs::of(float_environment),
            sites: Vec::new(),
            links: Vec::new(),
            plan: Plan::default(),
            block: block::Scratch::default(),
            windows: windows::Windows::default(),
        }
    }

    /// Lowers a region that is entered at its first block.
    pub fn lower(&mut self, region: &Region, request: Request<'_>) -> Lowered {
        self.lower_entered(region, &[0], request)
    }

    /// Lowers a region that is entered at these blocks, in ascending order; the first one is one of them.
    pub fn lower_entered(&mut self, region: &Region, entries: &[usize], request: Request<'_>) -> Lowered {
        self.asm.clear();
        self.sites.clear();
        self.links.clear();
        self.plan.make(region, entries, request);
        let mut entries = flow::Flow::new(self, region, request).emit(entries);
        let Finished { code, notes, fixed } = self.asm.finish_short();
        let (code, site_numbers, stub_jumps) = (code.to_vec(), notes.to_vec(), fixed.to_vec());
        for EntryPoint { entry, start, .. } in &mut entries {
            [*entry, *start] = [*entry, *start].map(|place| self.asm.moved(place as usize) as u32);
        }
        for Link { jump, unlinked, far, .. } in &mut self.links {
            [*jump, *unlinked] = [*jump, *unlinked].map(|place| self.asm.moved(place));
            *far = far.map(|place| self.asm.moved(place));
        }
        Lowered {
            code,
            site_numbers,
            stub_jumps,
            entries,
            sites: self.sites.drain(..).collect(),
            links: self.links.clone(),
            homes: self.plan.homes.clone(),
            vector_homes: self.plan.vector_homes.clone(),
        }
    }

    /// Code that goes on at a distance from the start of the page, by the jump cache.
    pub fn lower_jump(&mut self, to: i64) -> LoweredJump {
        self.asm.clear();
        flow::jump_to(&mut self.asm, &self.stubs, to);
        let Finished { code, fixed, .. } = self.asm.finish_short();
        LoweredJump { code: code.to_vec(), stub_jumps: fixed.to_vec() }
    }
}
