//! The part of the shared tree that fids stand in: one place for each name that was walked to.
//!
//! A place has a name and the place above it, so `..` and saved fids never depend on the host's idea of a parent,
//! and a handle (the back end's `Node`), which keeps the file itself through renames and removal. Handles are
//! scarce on a host: the least used go and are opened again by name, checked to be the same file. A place whose
//! name was removed keeps its handle, for nothing could bring it back.
//!
//! Invariants: a place exists while a fid or a place below refers to it (`references`); `children` of a place are
//! exactly the `named` places above which it is; no place is above itself.

use std::collections::{BTreeMap, BTreeSet};

use super::state::PlaceState;
use crate::backend::fs::{Attr, Errno, FileId, FileSystem, Name, Result};

/// Index of a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct PlaceId(pub(super) u32);

/// The root of the share.
pub(super) const ROOT: PlaceId = PlaceId(0);
/// How many places one search for a handle to close looks at.
const SWEEP_PLACES: usize = 64;

struct Place<N> {
    above: PlaceId,
    name: Box<[u8]>,
    /// Whether `name` still leads here, as far as this server knows.
    named: bool,
    /// `None` after a restore, until the file is seen again.
    file: Option<FileId>,
    node: Option<N>,
    references: u32,
    /// Fids that opened the file: its handle stays.
    opened: u32,
    recent: bool,
    children: BTreeMap<Box<[u8]>, PlaceId>,
}

/// All places.
pub(super) struct Places<F: FileSystem> {
    slots: Vec<Option<Place<F::Node>>>,
    /// Free slots; the lowest is taken first, so that a restored server takes the same.
    free: BTreeSet<u32>,
    handles: usize,
    max_handles: usize,
    max_places: usize,
    hand: usize,
}

impl<F: FileSystem> Places<F> {
    pub(super) fn new(fs: &F, max_handles: usize, max_places: usize) -> Result<Self> {
        let node = fs.root()?;
        let file = fs.attr(&node)?.id;
        let root = Place {
            above: ROOT,
            name: Box::default(),
            named: true,
            file: Some(file),
            node: Some(node),
            references: 1,
            opened: 1,
            recent: true,
            children: BTreeMap::new(),
        };
        Ok(Places {
            slots: vec![Some(root)],
            free: BTreeSet::new(),
            handles: 0,
            max_handles,
            max_places,
            hand: 0,
        })
    }

    fn place(&self, id: PlaceId) -> &Place<F::Node> {
        self.slots[id.0 as usize].as_ref().expect("a place that is referred to exists")
    }

    fn place_mut(&mut self, id: PlaceId) -> &mut Place<F::Node> {
        self.slots[id.0 as usize].as_mut().expect("a place that is referred to exists")
    }

    /// Whether there is such a place.
    pub(super) fn exists(&self, id: PlaceId) -> bool {
        self.slots.get(id.0 as usize).is_some_and(Option::is_some)
    }

    pub(super) fn above(&self, id: PlaceId) -> PlaceId {
        self.place(id).above
    }

    /// The name by which the place was reached; `None` for the root and for what was removed.
    pub(super) fn name(&self, id: PlaceId) -> Option<(PlaceId, &[u8])> {
        let place = self.place(id);
        (id != ROOT && place.named).then_some((place.above, &place.name))
    }

    /// The file there, if it was ever seen.
    pub(super) fn file(&self, id: PlaceId) -> Option<FileId> {
        self.place(id).file
    }

    pub(super) fn acquire(&mut self, id: PlaceId) {
        self.place_mut(id).references += 1;
    }

    /// Gives up a reference; places that nothing refers to any more go, from the bottom up.
    pub(super) fn release(&mut self, mut id: PlaceId) {
        loop {
            let place = self.place_mut(id);
            place.references -= 1;
            // The root refers to itself and never gets here.
            if place.references > 0 {
                return;
            }
            let above = place.above;
            self.unname(id);
            if let Some(place) = self.slots[id.0 as usize].take() {
                self.handles -= usize::from(place.node.is_some());
                self.free.insert(id.0);
            }
            id = above;
        }
    }

    pub(super) fn opened(&mut self, id: PlaceId) {
        self.place_mut(id).opened += 1;
    }

    pub(super) fn closed(&mut self, id: PlaceId) {
        self.place_mut(id).opened -= 1;
    }

    /// The handle of a place.
    pub(super) fn node(&mut self, fs: &F, id: PlaceId) -> Result<&F::Node> {
        self.ensure_node(fs, id)?;
        self.held_node(id)
    }

    /// The handles of two places.
    pub(super) fn two_nodes(&mut self, fs: &F, a: PlaceId, b: PlaceId) -> Result<(&F::Node, &F::Node)> {
        self.ensure_node(fs, a)?;
        self.opened(a);
        let ensured = self.ensure_node(fs, b);
        self.closed(a);
        ensured?;
        Ok((self.held_node(a)?, self.held_node(b)?))
    }

    fn held_node(&self, id: PlaceId) -> Result<&F::Node> {
        self.place(id).node.as_ref().ok_or(Errno::ESTALE)
    }

    fn ensure_node(&mut self, fs: &F, id: PlaceId) -> Result<()> {
        // Up to the nearest place with a handle, then down again by name.
        let mut missing = Vec::new();
        let mut at = id;
        while self.place(at).node.is_none() {
            if !self.place(at).named {
                return Err(Errno::ESTALE);
            }
            missing.push(at);
            at = self.place(at).above;
        }
        self.place_mut(at).recent = true;
        while let Some(below) = missing.pop() {
            let name = self.place(below).name.clone();
            let name = Name::new(&name).map_err(|_| Errno::ESTALE)?;
            let (node, attr) = match self.look_up(fs, at, name) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(Errno::ESTALE),
                found => found?,
            };
            let place = self.place_mut(below);
            if place.file.is_some_and(|file| file != attr.id) {
                return Err(Errno::ESTALE);
            }
            place.file = Some(attr.id);
            place.node = Some(node);
            place.recent = true;
            self.handles += 1;
            at = below;
        }
        Ok(())
    }

    /// Opens an entry of a directory whose handle is there, making room for the new handle.
    fn look_up(&mut self, fs: &F, directory: PlaceId, name: Name<'_>) -> Result<(F::Node, Attr)> {
        self.opened(directory);
        self.make_room(1);
        let found = match self.held_node(directory).and_then(|node| fs.lookup(node, name)) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.make_room(SWEEP_PLACES);
                self.held_node(directory).and_then(|node| fs.lookup(node, name))
            }
            found => found,
        };
        self.closed(directory);
        found
    }

    /// Closes handles that were not used lately, until `count` more may be opened or a bounded search ends.
    pub(super) fn make_room(&mut self, count: usize) {
        if count == 1 && self.handles < self.max_handles {
            return;
        }
        let mut closed = 0;
        for _ in 0..SWEEP_PLACES.max(2 * count) {
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(place) = &mut self.slots[self.hand] else { continue };
            if place.opened > 0 || !place.named || place.node.is_none() {
                continue;
            }
            if std::mem::take(&mut place.recent) {
                continue;
            }
            place.node = None;
            self.handles -= 1;
            closed += 1;
            if closed >= count {
                return;
            }
        }
    }

    /// Walks one step down. The caller gets a reference to the place.
    pub(super) fn child(&mut self, fs: &F, directory: PlaceId, name: Name<'_>) -> Result<(PlaceId, Attr)> {
        self.ensure_node(fs, directory)?;
        if let Some(&known) = self.place(directory).children.get(name.bytes()) {
            // Whether it is still that file costs less to ask than a new handle.
            let attr = match fs.attr_at(self.held_node(directory)?, name) {
                Err(Errno::ENOENT) => {
                    self.unname(known);
                    return Err(Errno::ENOENT);
                }
                attr => attr?,
            };
            let place = self.place_mut(known);
            if place.file.is_none_or(|file| file == attr.id) {
                place.file = Some(attr.id);
                place.references += 1;
                return Ok((known, attr));
            }
        }
        let (node, attr) = self.look_up(fs, directory, name)?;
        Ok((self.adopt(directory, name, node, attr.id)?, attr))
    }

    /// Makes the place of an entry whose handle is at hand, in place of what had that name. The caller gets a
    /// reference to it.
    pub(super) fn adopt(
        &mut self,
        directory: PlaceId,
        name: Name<'_>,
        node: F::Node,
        file: FileId,
    ) -> Result<PlaceId> {
        let place = Place {
            above: directory,
            name: name.bytes().into(),
            named: false,
            file: Some(file),
            node: Some(node),
            references: 1,
            opened: 0,
            recent: true,
            children: BTreeMap::new(),
        };
        let id = self.insert(place)?;
        self.handles += 1;
        self.acquire(directory);
        self.set_name(id, directory, name.bytes());
        Ok(id)
    }

    fn insert(&mut self, place: Place<F::Node>) -> Result<PlaceId> {
        if let Some(id) = self.free.pop_first() {
            self.slots[id as usize] = Some(place);
            return Ok(PlaceId(id));
        }
        if self.slots.len() >= self.max_places {
            return Err(Errno::ENFILE);
        }
        self.slots.push(Some(place));
        Ok(PlaceId((self.slots.len() - 1) as u32))
    }

    /// Makes `name` of `directory`, which must be the place above, lead to `id` and to nothing else.
    fn set_name(&mut self, id: PlaceId, directory: PlaceId, name: &[u8]) {
        if let Some(former) = self.place_mut(directory).children.insert(name.into(), id) {
            self.place_mut(former).named = false;
        }
        let place = self.place_mut(id);
        place.named = true;
        if *place.name != *name {
            place.name = name.into();
        }
    }

    /// The name no longer leads to `id`.
    fn unname(&mut self, id: PlaceId) {
        let place = self.place_mut(id);
        if std::mem::take(&mut place.named) {
            let (above, name) = (place.above, std::mem::take(&mut place.name));
            self.place_mut(above).children.remove(&name);
            self.place_mut(id).name = name;
        }
    }

    /// Makes sure that a place which is about to lose its name has its handle. Failing that it becomes stale.
    pub(super) fn hold(&mut self, fs: &F, directory: PlaceId, name: Name<'_>) {
        if let Some(&known) = self.place(directory).children.get(name.bytes()) {
            let _ = self.ensure_node(fs, known);
        }
    }

    /// A name was removed.
    pub(super) fn removed(&mut self, directory: PlaceId, name: Name<'_>) {
        if let Some(&known) = self.place(directory).children.get(name.bytes()) {
            self.unname(known);
        }
    }

    /// An entry was moved, and replaced what was there.
    pub(super) fn renamed(&mut self, from: PlaceId, from_name: Name<'_>, to: PlaceId, to_name: Name<'_>) {
        let moved = self.place(from).children.get(from_name.bytes()).copied();
        if moved.is_some() && moved == self.place(to).children.get(to_name.bytes()).copied() {
            return;
        }
        self.removed(to, to_name);
        let Some(moved) = moved else { return };
        self.unname(moved);
        // The host would not move a directory into itself, but the places may be behind what the host has.
        let mut at = to;
        while at != ROOT {
            if at == moved {
                return;
            }
            at = self.above(at);
        }
        self.acquire(to);
        self.place_mut(moved).above = to;
        self.set_name(moved, to, to_name.bytes());
        self.release(from);
    }

    /// All places by index, with the free ones between them: saved fids refer to these indices.
    pub(super) fn save(&self) -> Vec<Option<PlaceState>> {
        let save = |place: &Place<F::Node>| PlaceState {
            above: place.above.0,
            name: place.name.to_vec(),
            named: place.named,
        };
        let used = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.slots[..used].iter().map(|slot| slot.as_ref().map(save)).collect()
    }

    /// Fills the places after the root from a saved state. References are counted for the places themselves; the
    /// caller counts fids. `None` if the state is not one that `save` wrote.
    pub(super) fn restore(&mut self, saved: &[Option<PlaceState>]) -> Option<()> {
        if !matches!(saved.first(), Some(Some(root)) if root.above == 0) || saved.len() > self.max_places {
            return None;
        }
        for (index, slot) in saved.iter().enumerate().skip(1) {
            let Some(state) = slot else {
                self.slots.push(None);
                self.free.insert(index as u32);
                continue;
            };
            Name::new(&state.name).ok()?;
            self.slots.push(Some(Place {
                above: PlaceId(state.above),
                name: state.name.clone().into(),
                named: false,
                file: None,
                node: None,
                references: 0,
                opened: 0,
                recent: false,
                children: BTreeMap::new(),
            }));
        }
        for (index, state) in saved.iter().enumerate().skip(1) {
            let Some(state) = state else { continue };
            let above = self.slots.get_mut(state.above as usize)?.as_mut()?;
            above.references += 1;
            if state.named {
                let id = PlaceId(index as u32);
                let other = above.children.insert(state.name.clone().into(), id);
                if other.is_some() {
                    return None;
                }
                self.place_mut(id).named = true;
            }
        }
        self.all_reach_root().then_some(())
    }

    /// Whether every place leads up to the root.
    fn all_reach_root(&self) -> bool {
        let mut reaches = vec![false; self.slots.len()];
        reaches[0] = true;
        let mut path = Vec::new();
        for start in 0..self.slots.len() {
            let mut at = start;
            while !reaches[at] && path.len() <= self.slots.len() {
                let Some(place) = &self.slots[at] else { break };
                path.push(at);
                at = place.above.0 as usize;
            }
            if path.len() > self.slots.len() {
                return false;
            }
            path.drain(..).for_each(|passed| reaches[passed] = true);
        }
        true
    }

    /// Forgets places of a restored state that nothing refers to.
    pub(super) fn drop_unreferenced(&mut self) {
        for index in 1..self.slots.len() {
            let id = PlaceId(index as u32);
            if self.slots[index].as_ref().is_some_and(|place| place.references == 0) {
                self.acquire(id);
                self.release(id);
            }
        }
    }
}
