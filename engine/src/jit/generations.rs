//! Where translated code is kept: in generations, of which the oldest makes room for the next when all are full.
//!
//! Units, their sites and their links are numbered by generation and place in it, so that a generation is dropped without
//! touching another one's numbers. Invariant: nothing outside of a generation names what is in it when it has been dropped:
//! not a link of other code, not the pages, not the blocks.
//!
//! The limit is for code and for what describes it, which takes as much again.

use super::code_cache::{Found, KeptSites};
use super::{Origin, TranslatorStatistics};
use crate::addr::{Gva, PAGE_SHIFT, Page};
use crate::cache::{BlockCache, BlockId, Renumbered};
use crate::emit::Slot;
use crate::host::native::NativeCode;
use crate::keys::KeyHasher;
use crate::lower::x64::{Home, Link, LoweredJump, Site, Translated, VectorHome, far_conditions, settle};
use crate::mem::tlb::MAX_CONTEXTS;
use crate::mem::untouched::{Asked, Untouched};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

/// How many there are: so much of the code is lost at once.
pub const GENERATIONS: usize = 8;
/// Bits of a number that say where in its generation something is.
const INDEX_BITS: u32 = 24;

/// Units that a generation has room for from the start, without moving those that are there: what a short run translates. Room
/// that is not used is never touched and costs nothing.
const ROOM_UNITS: usize = 1 << 14;
/// The same for sites and links, of each unit.
const ROOM_PER_UNIT: usize = 8;

/// No number.
const NONE: u32 = u32::MAX;

/// Where code of a region is entered. Places of code are numbers of bytes of [`Generations::memory`].
pub(super) struct Unit {
    /// Which body of its generation it leads into.
    body: u32,
    /// Where other code enters it.
    entry: u32,
    /// Where the run loop enters it.
    start: u32,
    /// Guest instructions of the block that it begins with, and bytes of their code.
    pub insns: u16,
    pub len_bytes: u16,
    /// The block that it begins with, which leads to it, and where in its page that is.
    block: BlockId,
    place: u16,
    pub live: bool,
    /// The first of the links of other code that lead here, or [`NONE`].
    incoming: u32,
}

/// What all units of one region have in common. What would be a list of its own is a part of one of the generation's.
pub(super) struct Body {
    homes: Part,
    vector_homes: Part,
    links: Part,
    first_site: u32,
    sites: Sites,
    /// What it was made from.
    pub origin: Origin,
    /// It may be made anew over more blocks.
    pub may_grow: bool,
}

impl Unit {
    /// Where in its page the block is that it begins with.
    pub fn place(&self) -> u64 {
        self.place.into()
    }

    /// Where other code enters it.
    pub fn entry(&self) -> usize {
        self.entry as usize
    }

    /// Where the run loop enters it.
    pub fn start(&self) -> usize {
        self.start as usize
    }
}

/// A part of a list.
#[derive(Clone, Copy, Default)]
struct Part {
    first: u32,
    count: u32,
}

impl Part {
    /// What is about to be the end of a list.
    fn behind<T>(list: &[T], count: usize) -> Self {
        Self { first: list.len() as u32, count: count as u32 }
    }

    fn range(self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// A way out of a unit.
pub(super) struct LinkState {
    /// Where the displacement is.
    jump: u32,
    /// Where it leads while it is not linked.
    unlinked: u32,
    /// Where it leads in the guest.
    to: i32,
    /// Where its conditions are, if it leads to another page: never at 0.
    far: u32,
    /// The unit that it is part of.
    pub from: u32,
    /// The unit that it is linked to, or [`NONE`].
    target: u32,
    /// The next link that leads there, or [`NONE`].
    next: u32,
}

impl LinkState {
    fn new(link: Link, at: usize, from: u32) -> Self {
        let place = |of: usize| (at + of) as u32;
        Self {
            jump: place(link.jump),
            unlinked: place(link.unlinked),
            to: link.to as i32,
            far: link.far.map_or(0, place),
            from,
            target: NONE,
            next: NONE,
        }
    }

    /// Where it leads in the guest.
    pub fn to(&self) -> i64 {
        self.to.into()
    }

    /// Where its conditions are, if it leads to another page.
    pub fn far(&self) -> Option<usize> {
        Some(self.far as usize).filter(|&far| far != 0)
    }
}

/// The sites of a unit.
pub(super) enum Sites {
    /// As they were lowered.
    Lowered(Vec<Site>),
    /// From the code cache; each is taken apart when it is needed.
    Kept { kept: KeptSites, count: usize, needed: OnceCell<Box<[OnceCell<Box<Site>>]>> },
}

impl Sites {
    /// No sites.
    const NONE: Self = Self::Lowered(Vec::new());

    /// So many from the code cache.
    pub fn kept(kept: KeptSites, count: usize) -> Self {
        Self::Kept { kept, count, needed: OnceCell::new() }
    }

    fn len(&self) -> usize {
        match self {
            Sites::Lowered(sites) => sites.len(),
            Sites::Kept { count, .. } => *count,
        }
    }

    /// Those that are taken apart already. Of those from the code cache few ever are.
    fn described(&self) -> &[Site] {
        match self {
            Sites::Lowered(sites) => sites,
            Sites::Kept { .. } => &[],
        }
    }

    fn get(&self, number: usize) -> &Site {
        match self {
            Sites::Lowered(sites) => &sites[number],
            Sites::Kept { kept, count, needed } => {
                let needed = needed.get_or_init(|| vec![OnceCell::new(); *count].into_boxed_slice());
                needed[number].get_or_init(|| Box::new(kept.decode(number)))
            }
        }
    }
}

/// What is added as a unit.
pub(super) struct Addition<'a, T> {
    pub made: &'a T,
    pub sites: Sites,
    /// What it was made from.
    pub origin: Origin,
    /// Where in its page a block is that it is entered at and wanted for, and what that is called.
    pub place: u64,
    pub block: BlockId,
    /// Whether it may be made anew over more blocks.
    pub may_grow: bool,
}

/// Numbers of units that were added together.
pub(super) struct Added {
    /// The one that was wanted.
    pub wanted: u32,
    /// All that are found where they begin.
    pub found: Vec<u32>,
}

/// What a unit takes.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Bytes of code.
    code: usize,
    /// Bytes that describe it.
    tables: usize,
    units: usize,
    sites: usize,
    links: usize,
}

#[derive(Default)]
struct Generation {
    units: Vec<Unit>,
    bodies: Vec<Body>,
    /// The number of the body of each site.
    sites: Vec<u32>,
    links: Vec<LinkState>,
    homes: Vec<Home>,
    vector_homes: Vec<VectorHome>,
    /// Code and tables.
    bytes: usize,
    /// Which memory of units, bodies, sites and links was asked for.
    asked: [Asked; 4],
}

impl Generation {
    /// An empty one that is about to be filled.
    fn with_room() -> Self {
        Self {
            units: Vec::with_capacity(ROOM_UNITS),
            bodies: Vec::with_capacity(ROOM_UNITS),
            sites: Vec::with_capacity(ROOM_UNITS * ROOM_PER_UNIT),
            links: Vec::with_capacity(ROOM_UNITS * ROOM_PER_UNIT),
            ..Self::default()
        }
    }

    /// Memory that its tables will grow into before long, unless it was asked for.
    fn wanted(&mut self) -> Vec<Untouched> {
        let Self { units, bodies, sites, links, asked: [of_units, of_bodies, of_sites, of_links], .. } = self;
        let wanted = [
            of_units.wanted(units),
            of_bodies.wanted(bodies),
            of_sites.wanted(sites),
            of_links.wanted(links),
        ];
        wanted.into_iter().flatten().collect()
    }
}

/// Everything that was translated and not dropped.
pub(super) struct Generations {
    pub memory: NativeCode,
    all: Vec<Generation>,
    /// The one that is being filled.
    current: usize,
    /// Most bytes of each.
    limit_bytes: usize,
    /// Live units by the page that they were made from.
    pages: HashMap<Page, Vec<u32>, KeyHasher>,
    /// Live units of one page by [`key`] and context of data accesses, or [`NONE`].
    entries: HashMap<u64, [u32; MAX_CONTEXTS], KeyHasher>,
    /// The others, by what they were made from and the place in its page.
    crossing: HashMap<(Origin, u64), u32, KeyHasher>,
}

/// What a unit of one page is found by, besides its context. Physical addresses are below 2^48.
fn key(origin: &Origin, place: u64) -> u64 {
    origin.page.0 << PAGE_SHIFT | place | u64::from(origin.mode.0) << 48
}

/// There is no room in the generation that is being filled.
#[derive(Debug)]
pub(super) struct Full;

impl Generations {
    /// Room for `len_bytes` of code and tables.
    ///
    /// # Errors
    /// When the host does not give memory that may be run.
    pub fn new(len_bytes: usize, float_environment: Option<Slot>) -> Result<Self, Errno> {
        let memory = NativeCode::new(len_bytes, GENERATIONS, float_environment)?;
        let mut all: Vec<Generation> = (0..GENERATIONS).map(|_| Generation::default()).collect();
        all[0] = Generation::with_room();
        Ok(Self {
            memory,
            all,
            current: 0,
            limit_bytes: len_bytes / GENERATIONS,
            pages: HashMap::with_hasher(KeyHasher),
            entries: HashMap::with_capacity_and_hasher(ROOM_UNITS, KeyHasher),
            crossing: HashMap::with_hasher(KeyHasher),
        })
    }

    fn place(number: u32) -> (usize, usize) {
        ((number >> INDEX_BITS) as usize, (number & ((1 << INDEX_BITS) - 1)) as usize)
    }

    fn number(generation: usize, index: usize) -> u32 {
        (generation as u32) << INDEX_BITS | index as u32
    }

    pub fn unit(&self, number: u32) -> &Unit {
        let (generation, index) = Self::place(number);
        &self.all[generation].units[index]
    }

    fn unit_mut(&mut self, number: u32) -> &mut Unit {
        let (generation, index) = Self::place(number);
        &mut self.all[generation].units[index]
    }

    /// What a unit leads into.
    pub fn body(&self, number: u32) -> &Body {
        let (generation, index) = Self::place(number);
        let generation = &self.all[generation];
        &generation.bodies[generation.units[index].body as usize]
    }

    /// A site and what it is part of.
    pub fn site(&self, number: u32) -> (&Site, &Body) {
        let (generation, index) = Self::place(number);
        let generation = &self.all[generation];
        let body = &generation.bodies[generation.sites[index] as usize];
        (body.sites.get((number - body.first_site) as usize), body)
    }

    /// Which slots are in registers all through code.
    pub fn homes_of(&self, body: &Body) -> (&[Home], &[VectorHome]) {
        let (generation, _) = Self::place(body.first_site);
        let Generation { homes, vector_homes, .. } = &self.all[generation];
        (&homes[body.homes.range()], &vector_homes[body.vector_homes.range()])
    }

    /// The ways out of what a unit leads into.
    pub fn links_of(&self, number: u32) -> Range<u32> {
        let (generation, _) = Self::place(number);
        let Part { first, count } = self.body(number).links;
        let first = Self::number(generation, first as usize);
        first..first + count
    }

    pub fn link(&self, number: u32) -> &LinkState {
        let (generation, index) = Self::place(number);
        &self.all[generation].links[index]
    }

    fn link_mut(&mut self, number: u32) -> &mut LinkState {
        let (generation, index) = Self::place(number);
        &mut self.all[generation].links[index]
    }

    /// Bytes of code and tables, dead ones included.
    pub fn used_bytes(&self) -> usize {
        self.all.iter().map(|generation| generation.bytes).sum()
    }

    /// Whether the generation that is being filled has room for this.
    pub fn has_room(&self, Size { code, tables, units, sites, links }: Size) -> bool {
        let generation = &self.all[self.current];
        let numbers = |len: usize, more: usize| len + more < 1 << INDEX_BITS;
        generation.bytes + code + tables <= self.limit_bytes
            && numbers(generation.units.len(), units)
            && numbers(generation.sites.len(), sites)
            && numbers(generation.links.len(), links)
            && self.memory.has_room(code)
    }

    /// Memory of tables that another thread had better make present before it is used.
    pub fn wanted_tables(&mut self) -> Vec<Untouched> {
        self.all[self.current].wanted()
    }

    /// Adds a unit for each place where this is entered, as far as there is none for it, and for the one that it is wanted for;
    /// gives their numbers.
    pub fn add(&mut self, addition: Addition<'_, impl Translated>) -> Result<Added, Full> {
        let Addition { made, sites, origin, place, block, may_grow } = addition;
        let size = Size::of(made, sites.len(), sites.described());
        if !self.has_room(size) {
            return Err(Full);
        }
        let Self { memory, all, current, .. } = self;
        let generation = &mut all[*current];
        let numbered = |len: usize| Self::number(*current, len);
        let [first_unit, first_site, first_link] =
            [generation.units.len(), generation.sites.len(), generation.links.len()].map(numbered);
        let finish = |at, code: &mut [u8]| settle(code, made, at, first_site, first_link);
        let at = memory.add_with(made.code(), finish).ok_or(Full)?;
        generation.bytes += size.code + size.tables;
        let body = generation.bodies.len() as u32;
        generation.bodies.push(Body {
            homes: Part::behind(&generation.homes, made.homes().len()),
            vector_homes: Part::behind(&generation.vector_homes, made.vector_homes().len()),
            links: Part::behind(&generation.links, size.links),
            first_site,
            sites,
            origin,
            may_grow,
        });
        generation.units.extend(made.entries().iter().map(|point| Unit {
            body,
            entry: at as u32 + point.entry,
            start: at as u32 + point.start,
            insns: point.insns,
            len_bytes: point.len_bytes,
            block: if u64::from(point.place) == place { block } else { BlockId::NONE },
            place: point.place,
            live: true,
            incoming: NONE,
        }));
        generation.homes.extend(made.homes());
        generation.vector_homes.extend(made.vector_homes());
        generation.links.extend(made.links().map(|link| LinkState::new(link, at, first_unit)));
        generation.sites.resize(generation.sites.len() + size.sites, body);
        let units = first_unit..first_unit + size.units as u32;
        for page in origin.pages() {
            self.pages.entry(page).or_default().extend(units.clone());
        }
        let mut added = Added { wanted: first_unit, found: Vec::with_capacity(size.units) };
        for (unit, point) in units.zip(made.entries()) {
            let is_wanted = u64::from(point.place) == place;
            if is_wanted {
                added.wanted = unit;
            }
            if self.enter(origin, point.place.into(), unit, is_wanted) {
                added.found.push(unit);
            }
        }
        Ok(added)
    }

    /// Lets a unit be found, unless there is another one that it does not replace; gives whether it is.
    fn enter(&mut self, origin: Origin, place: u64, unit: u32, replaces: bool) -> bool {
        if origin.second.is_some() {
            self.crossing.insert((origin, place), unit);
            return true;
        }
        let contexts = self.entries.entry(key(&origin, place)).or_insert([NONE; MAX_CONTEXTS]);
        let is_found = replaces || contexts[origin.context] == NONE;
        if is_found {
            contexts[origin.context] = unit;
        }
        is_found
    }

    /// Adds what was found in the code cache of code that is entered in these pages; nothing if there is no room: it is translated
    /// when it is hot, which makes some.
    pub fn add_found(
        &mut self,
        found: Found<'_>,
        origin: Origin,
        place: u64,
        block: BlockId,
        statistics: &mut TranslatorStatistics,
    ) -> Option<Added> {
        let Found { source, made, sites, is_fresh } = found;
        // What its checksum says was written by this build is sound.
        if !made.is_sound() || usize::from(source.entry.context) >= MAX_CONTEXTS {
            return None;
        }
        let addition = Addition {
            sites: Sites::kept(sites, made.site_count as usize),
            origin,
            place,
            block,
            may_grow: made.may_grow,
            made: &made,
        };
        let added = self.add(addition).ok()?;
        if is_fresh {
            statistics.ahead_used += 1;
        } else {
            statistics.recalled += 1;
            statistics.recalled_insns += u64::from(made.insns);
        }
        Some(added)
    }

    /// The live unit that was made from this; it belongs to this block from now on.
    pub fn adopt(&mut self, origin: Origin, place: u64, block: BlockId) -> Option<u32> {
        let number = self.find(origin, place)?;
        self.unit_mut(number).block = block;
        Some(number)
    }

    /// The live unit that was made from this.
    pub fn find(&self, origin: Origin, place: u64) -> Option<u32> {
        // Asked of every new block, of which nearly none has one: there are fewer pages than entries.
        if !self.pages.contains_key(&origin.page) {
            return None;
        }
        let number = match origin.second {
            None => self.entries.get(&key(&origin, place))?[origin.context],
            Some(_) => *self.crossing.get(&(origin, place))?,
        };
        (number != NONE).then_some(number)
    }

    /// Forgets where a unit that is no longer live can be found.
    fn forget_entry(&mut self, origin: &Origin, place: u64, number: u32) {
        if origin.second.is_some() {
            if self.crossing.get(&(*origin, place)) == Some(&number) {
                self.crossing.remove(&(*origin, place));
            }
            return;
        }
        let key = key(origin, place);
        if let Some(contexts) = self.entries.get_mut(&key)
            && contexts[origin.context] == number
        {
            contexts[origin.context] = NONE;
            if *contexts == [NONE; MAX_CONTEXTS] {
                self.entries.remove(&key);
            }
        }
    }

    /// Adds code that belongs to a link and leads on from it.
    pub fn add_way(&mut self, link: u32, lowered: &LoweredJump) {
        let (code, generation) = (&lowered.code, &mut self.all[self.current]);
        if generation.bytes + code.len() <= self.limit_bytes
            && let Some(at) = self.memory.add_with(code, |at, code| lowered.settle(code, at))
        {
            generation.bytes += code.len();
            self.memory.patch(self.link(link).jump as usize, at);
        }
    }

    /// Lets a way out within a page lead to a unit.
    pub fn connect(&mut self, link: u32, to: u32) {
        self.disconnect(link);
        let unit = self.unit_mut(to);
        let entry = unit.entry();
        let next = std::mem::replace(&mut unit.incoming, link);
        let state = self.link_mut(link);
        (state.target, state.next) = (to, next);
        let jump = state.jump as usize;
        self.memory.patch(jump, entry);
    }

    /// Lets a way out to another page lead to a unit while the tag for such links is this one and its own page has this address.
    pub fn connect_far(&mut self, link: u32, to: u32, tag: u64, page_base: Gva) {
        if let Some(conditions) = self.link(link).far() {
            self.connect(link, to);
            for (place, number) in far_conditions(tag, page_base.0) {
                self.memory.overwrite(conditions + place, &number);
            }
        }
    }

    /// Lets a way out lead nowhere.
    fn disconnect(&mut self, link: u32) {
        let LinkState { target, next, .. } = *self.link(link);
        if target == NONE {
            return;
        }
        let mut before = NONE;
        let mut at = self.unit(target).incoming;
        while at != link {
            (before, at) = (at, self.link(at).next);
        }
        match before {
            NONE => self.unit_mut(target).incoming = next,
            before => self.link_mut(before).next = next,
        }
        self.lead_nowhere(link);
    }

    /// The same for a link that is in no list any more.
    fn lead_nowhere(&mut self, link: u32) {
        let state = self.link_mut(link);
        (state.target, state.next) = (NONE, NONE);
        let (jump, unlinked) = (state.jump as usize, state.unlinked as usize);
        match state.far() {
            Some(conditions) => {
                for (place, number) in far_conditions(0, 0) {
                    self.memory.overwrite(conditions + place, &number);
                }
            }
            None => self.memory.patch(jump, unlinked),
        }
    }

    /// Lets what leads to a unit lead to another one of the same block.
    pub fn supersede(&mut self, old: u32, new: u32) {
        let entry = self.unit(new).entry();
        let mut link = std::mem::replace(&mut self.unit_mut(old).incoming, NONE);
        while link != NONE {
            let first = std::mem::replace(&mut self.unit_mut(new).incoming, link);
            let state = self.link_mut(link);
            state.target = new;
            let after = std::mem::replace(&mut state.next, first);
            let jump = state.jump as usize;
            self.memory.patch(jump, entry);
            link = after;
        }
    }

    /// Lets no other code lead to a unit.
    fn isolate(&mut self, number: u32) {
        let mut link = std::mem::replace(&mut self.unit_mut(number).incoming, NONE);
        while link != NONE {
            let next = self.link(link).next;
            self.lead_nowhere(link);
            link = next;
        }
    }

    /// Kills the units of a page; gives how many there were.
    pub fn invalidate(&mut self, page: Page) -> u64 {
        let mut count = 0;
        for number in self.pages.remove(&page).unwrap_or_default() {
            let (generation, index) = Self::place(number);
            let Generation { units, bodies, .. } = &mut self.all[generation];
            let unit = &mut units[index];
            if std::mem::replace(&mut unit.live, false) {
                let body = &mut bodies[unit.body as usize];
                // It is not run again: only its place stays.
                body.sites = Sites::NONE;
                let (origin, place) = (body.origin, unit.place.into());
                self.forget_entry(&origin, place, number);
                self.isolate(number);
                count += 1;
            }
        }
        count
    }

    /// Drops the oldest generation and begins the next one in its place. Where blocks led to it they are to become hot
    /// again. The caller makes the jump cache forget. Gives whether anything was dropped.
    pub fn advance<I: Copy>(&mut self, cache: &mut BlockCache<I>) -> bool {
        self.current = (self.current + 1) % GENERATIONS;
        let first = Self::number(self.current, 0);
        let count = self.all[self.current].units.len() as u32;
        for number in first..first + count {
            self.isolate(number);
        }
        for link in first..first + self.all[self.current].links.len() as u32 {
            self.disconnect(link);
        }
        let current = self.current;
        let Generation { units, bodies, .. } = std::mem::take(&mut self.all[current]);
        for (number, unit) in (first..).zip(units) {
            let origin = bodies[unit.body as usize].origin;
            self.forget_entry(&origin, unit.place.into(), number);
            cache.forget_unit(unit.block, origin.context, |number| Self::place(number).0 == current);
            for page in origin.pages().filter(|_| unit.live) {
                if let Some(units) = self.pages.get_mut(&page) {
                    units.retain(|&number| Self::place(number).0 != current);
                    if units.is_empty() {
                        self.pages.remove(&page);
                    }
                }
            }
        }
        self.begin(current);
        count > 0
    }

    /// Blocks have other numbers now. What began with one that is gone waits for it to be decoded again.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        for unit in self.all.iter_mut().flat_map(|generation| &mut generation.units) {
            unit.block = blocks.of(unit.block);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.all.fill_with(Generation::default);
        self.pages.clear();
        self.entries.clear();
        self.crossing.clear();
        self.begin(0);
    }

    /// Fills this one from now on, which is empty then.
    fn begin(&mut self, generation: usize) {
        self.current = generation;
        self.all[generation] = Generation::with_room();
        self.memory.begin(generation);
    }
}

impl Size {
    /// What this takes with so many sites, of which these are described.
    pub fn of(made: &impl Translated, sites: usize, described: &[Site]) -> Self {
        let (code, links) = (made.code().len(), made.link_count());
        let pending: usize = described.iter().map(|site| size_of_val(site.pending.as_slice())).sum();
        let units = made.entries().len();
        let tables = size_of::<Body>()
            + size_of::<Unit>() * units
            + size_of::<Home>() * made.homes().len()
            + size_of::<VectorHome>() * made.vector_homes().len()
            + size_of::<LinkState>() * links
            + size_of::<u32>() * sites
            + size_of_val(described)
            + pending;
        Self { code, tables, units, sites, links }
    }
}
