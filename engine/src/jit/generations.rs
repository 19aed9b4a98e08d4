//! Where translated code is kept: in generations, of which the oldest makes room for the next when all are full.
//!
//! Units, their sites and their links are numbered by generation and place in it, so that a generation is dropped without
//! touching another one's numbers. Invariant: nothing outside of a generation names what is in it when it has been dropped:
//! not a link of other code, not the pages, not the blocks.
//!
//! The limit is for code and for what describes it, which takes as much again.

use super::Origin;
use super::code_cache::KeptSites;
use super::code_cache::record::First;
use crate::addr::{Gva, Page};
use crate::cache::{BlockCache, BlockId, Renumbered};
use crate::emit::Slot;
use crate::host::native::NativeCode;
use crate::keys::KeyHasher;
use crate::lower::x64::{Home, Link, Lowered, Site, VectorHome, far_conditions};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

/// How many there are: so much of the code is lost at once.
pub const GENERATIONS: usize = 8;
/// Bits of a number that say where in its generation something is.
const INDEX_BITS: u32 = 24;

/// Code of one region.
pub(super) struct Unit {
    /// Where other code enters it.
    pub entry: usize,
    /// Where the run loop enters it.
    pub start: usize,
    /// Instructions of its first block.
    pub insns: i64,
    /// Its length in the guest.
    pub len_bytes: u16,
    pub homes: Vec<Home>,
    pub vector_homes: Vec<VectorHome>,
    first_site: u32,
    /// Its ways out.
    links: Range<u32>,
    sites: Sites,
    /// What it was made from.
    pub origin: Origin,
    /// The block that it begins with, which leads to it, and where in its page that is.
    block: BlockId,
    place: u64,
    /// Links of other code that lead here.
    incoming: Vec<u32>,
    /// It may be made anew over more blocks.
    pub may_grow: bool,
    pub live: bool,
}

/// A way out of a unit.
pub(super) struct LinkState {
    /// Where the displacement is.
    jump: usize,
    /// Where it leads while it is not linked.
    unlinked: usize,
    /// Where it leads in the guest.
    pub to: i64,
    /// Where its conditions are, if it leads to another page.
    pub far: Option<usize>,
    /// The unit that it is part of.
    pub from: u32,
    /// The unit that it is linked to.
    target: Option<u32>,
}

/// The sites of a unit.
pub(super) enum Sites {
    /// As they were lowered.
    Lowered(Vec<Site>),
    /// From the code cache; each is taken apart when it is needed.
    Kept { kept: KeptSites, count: usize, needed: OnceCell<Box<[OnceCell<Box<Site>>]>> },
}

impl Sites {
    /// So many from the code cache.
    pub fn kept(kept: KeptSites, count: usize) -> Self {
        Self::Kept { kept, count, needed: OnceCell::new() }
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
pub(super) struct Addition<'a, L> {
    /// The code, numbered as [`Generations::next`] says.
    pub code: &'a [u8],
    /// Where in it other code enters.
    pub entry: usize,
    /// Where in it the run loop enters.
    pub start: usize,
    /// The first block.
    pub first: First,
    /// Where that is in its page.
    pub place: u64,
    pub sites: Sites,
    pub site_count: usize,
    pub links: L,
    pub homes: Vec<Home>,
    pub vector_homes: Vec<VectorHome>,
    /// Whether it may be made anew over more blocks.
    pub may_grow: bool,
}

/// What a unit takes.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Bytes of code.
    code: usize,
    /// Bytes that describe it.
    tables: usize,
    sites: usize,
    links: usize,
}

#[derive(Default)]
struct Generation {
    units: Vec<Unit>,
    /// The unit of each site.
    sites: Vec<u32>,
    links: Vec<LinkState>,
    /// Code and tables.
    bytes: usize,
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
    /// Live units by what they were made from and the place in its page.
    entries: HashMap<(Origin, u64), u32, KeyHasher>,
}

/// Numbers of what the next unit has.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub unit: u32,
    pub first_site: u32,
    pub first_link: u32,
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
        Ok(Self {
            memory,
            all: (0..GENERATIONS).map(|_| Generation::default()).collect(),
            current: 0,
            limit_bytes: len_bytes / GENERATIONS,
            pages: HashMap::with_hasher(KeyHasher),
            entries: HashMap::with_hasher(KeyHasher),
        })
    }

    fn place(number: u32) -> (usize, usize) {
        ((number >> INDEX_BITS) as usize, (number & ((1 << INDEX_BITS) - 1)) as usize)
    }

    fn number(&self, index: usize) -> u32 {
        (self.current as u32) << INDEX_BITS | index as u32
    }

    pub fn unit(&self, number: u32) -> &Unit {
        let (generation, index) = Self::place(number);
        &self.all[generation].units[index]
    }

    fn unit_mut(&mut self, number: u32) -> &mut Unit {
        let (generation, index) = Self::place(number);
        &mut self.all[generation].units[index]
    }

    /// A site and its unit.
    pub fn site(&self, number: u32) -> (&Site, &Unit) {
        let (generation, index) = Self::place(number);
        let unit = self.unit(self.all[generation].sites[index]);
        (unit.sites.get((number - unit.first_site) as usize), unit)
    }

    /// The ways out of a unit.
    pub fn links_of(&self, number: u32) -> Range<u32> {
        self.unit(number).links.clone()
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

    /// What the next unit is numbered by.
    pub fn next(&self) -> Numbers {
        let Generation { units, sites, links, .. } = &self.all[self.current];
        let [unit, first_site, first_link] =
            [units.len(), sites.len(), links.len()].map(|len| self.number(len));
        Numbers { unit, first_site, first_link }
    }

    /// Whether the generation that is being filled has room for this.
    pub fn has_room(&self, Size { code, tables, sites, links }: Size) -> bool {
        let generation = &self.all[self.current];
        let numbers = |len: usize, more: usize| len + more < 1 << INDEX_BITS;
        generation.bytes + code + tables <= self.limit_bytes
            && numbers(generation.units.len(), 1)
            && numbers(generation.sites.len(), sites)
            && numbers(generation.links.len(), links)
            && self.memory.has_room(code)
    }

    /// Adds a unit that begins with this block.
    pub fn add(
        &mut self,
        addition: Addition<'_, impl Iterator<Item = Link> + Clone>,
        origin: Origin,
        block: BlockId,
    ) -> Result<u32, Full> {
        let Numbers { unit: number, first_site, first_link } = self.next();
        let size = addition.size();
        if !self.has_room(size) {
            return Err(Full);
        }
        let Addition { code, entry, start, first, place, sites, site_count, links, .. } = addition;
        let at = self.memory.add(code).ok_or(Full)?;
        let generation = &mut self.all[self.current];
        generation.bytes += size.code + size.tables;
        generation.links.extend(links.map(|link| LinkState {
            jump: at + link.jump,
            unlinked: at + link.unlinked,
            to: link.to,
            far: link.far.map(|far| at + far),
            from: number,
            target: None,
        }));
        generation.sites.resize(generation.sites.len() + site_count, number);
        generation.units.push(Unit {
            entry: at + entry,
            start: at + start,
            insns: first.insns.into(),
            len_bytes: first.len_bytes,
            homes: addition.homes,
            vector_homes: addition.vector_homes,
            first_site,
            links: first_link..first_link + size.links as u32,
            sites,
            origin,
            block,
            place,
            incoming: Vec::new(),
            may_grow: addition.may_grow,
            live: true,
        });
        for page in origin.pages() {
            self.pages.entry(page).or_default().push(number);
        }
        self.entries.insert((origin, place), number);
        Ok(number)
    }

    /// The live unit that was made from this; it belongs to this block from now on.
    pub fn adopt(&mut self, origin: Origin, place: u64, block: BlockId) -> Option<u32> {
        // Asked of every new block, of which nearly none has one: hashing a page costs less than hashing an origin.
        if !self.pages.contains_key(&origin.page) {
            return None;
        }
        let number = *self.entries.get(&(origin, place))?;
        self.unit_mut(number).block = block;
        Some(number)
    }

    /// Forgets where a unit that is no longer live can be found.
    fn forget_entry(&mut self, entry: (Origin, u64), number: u32) {
        if self.entries.get(&entry) == Some(&number) {
            self.entries.remove(&entry);
        }
    }

    /// Adds code that belongs to a link and leads on from it.
    pub fn add_way(&mut self, link: u32, code: &[u8]) {
        let generation = &mut self.all[self.current];
        if generation.bytes + code.len() <= self.limit_bytes
            && let Some(at) = self.memory.add(code)
        {
            generation.bytes += code.len();
            self.memory.patch(self.link(link).jump, at);
        }
    }

    /// Lets a way out within a page lead to a unit.
    pub fn connect(&mut self, link: u32, to: u32) {
        self.disconnect(link);
        let entry = self.unit(to).entry;
        self.memory.patch(self.link(link).jump, entry);
        self.link_mut(link).target = Some(to);
        self.unit_mut(to).incoming.push(link);
    }

    /// Lets a way out to another page lead to a unit while the context tag is this one and its own page has this address.
    pub fn connect_far(&mut self, link: u32, to: u32, tag: u64, page_base: Gva) {
        if let Some(conditions) = self.link(link).far {
            self.connect(link, to);
            for (place, number) in far_conditions(tag, page_base.0) {
                self.memory.overwrite(conditions + place, &number);
            }
        }
    }

    /// Lets a way out lead nowhere.
    fn disconnect(&mut self, link: u32) {
        if let Some(to) = self.link_mut(link).target.take() {
            self.lead_nowhere(link);
            self.unit_mut(to).incoming.retain(|&incoming| incoming != link);
        }
    }

    fn lead_nowhere(&mut self, link: u32) {
        let &LinkState { jump, unlinked, far, .. } = self.link(link);
        match far {
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
        let entry = self.unit(new).entry;
        let links = std::mem::take(&mut self.unit_mut(old).incoming);
        for &link in &links {
            self.memory.patch(self.link(link).jump, entry);
            self.link_mut(link).target = Some(new);
        }
        self.unit_mut(new).incoming.extend(links);
    }

    /// Lets no other code lead to a unit.
    fn isolate(&mut self, number: u32) {
        for link in std::mem::take(&mut self.unit_mut(number).incoming) {
            self.lead_nowhere(link);
            self.link_mut(link).target = None;
        }
    }

    /// Kills the units of a page; gives how many there were.
    pub fn invalidate(&mut self, page: Page) -> u64 {
        let mut count = 0;
        for number in self.pages.remove(&page).unwrap_or_default() {
            let unit = self.unit_mut(number);
            if std::mem::replace(&mut unit.live, false) {
                // It is not run again: only its place stays.
                unit.homes = Vec::new();
                unit.vector_homes = Vec::new();
                unit.sites = Sites::Lowered(Vec::new());
                let entry = (unit.origin, unit.place);
                self.forget_entry(entry, number);
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
        let (first, count) = (self.number(0), self.all[self.current].units.len() as u32);
        for number in first..first + count {
            self.isolate(number);
        }
        for link in first..first + self.all[self.current].links.len() as u32 {
            self.disconnect(link);
        }
        let current = self.current;
        for (number, unit) in (first..).zip(std::mem::take(&mut self.all[current].units)) {
            self.forget_entry((unit.origin, unit.place), number);
            cache.forget_unit(unit.block, unit.origin.context, |number| Self::place(number).0 == current);
            for page in unit.origin.pages().filter(|_| unit.live) {
                if let Some(units) = self.pages.get_mut(&page) {
                    units.retain(|&number| Self::place(number).0 != current);
                    if units.is_empty() {
                        self.pages.remove(&page);
                    }
                }
            }
        }
        self.all[current] = Generation::default();
        self.memory.begin(current);
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
        self.current = 0;
        self.memory.begin(0);
    }
}

impl<L: Iterator + Clone> Addition<'_, L> {
    fn size(&self) -> Size {
        let links = self.links.clone().count();
        let described = match &self.sites {
            Sites::Lowered(sites) => sites.as_slice(),
            // Few are ever taken apart.
            Sites::Kept { .. } => &[],
        };
        let tables = tables(described, self.site_count, links, &self.homes, &self.vector_homes);
        Size { code: self.code.len(), tables, sites: self.site_count, links }
    }
}

impl Size {
    /// What this takes.
    pub fn of(lowered: &Lowered) -> Self {
        let Lowered { code, sites, links, homes, vector_homes, .. } = lowered;
        let tables = tables(sites, sites.len(), links.len(), homes, vector_homes);
        Self { code: code.len(), tables, sites: sites.len(), links: links.len() }
    }
}

/// Memory that the description of a unit takes.
fn tables(
    described: &[Site],
    sites: usize,
    links: usize,
    homes: &[Home],
    vector_homes: &[VectorHome],
) -> usize {
    let pending: usize = described.iter().map(|site| size_of_val(site.pending.as_slice())).sum();
    size_of::<Unit>()
        + size_of_val(homes)
        + size_of_val(vector_homes)
        + size_of::<LinkState>() * links
        + size_of::<u32>() * sites
        + size_of_val(described)
        + pending
}
