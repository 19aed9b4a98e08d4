//! Shape: from the ways between blocks to nested loops, which is all that wasm has.
//!
//! Strongly connected blocks are a loop. Its heads are the blocks that are entered from outside; without the ways to them
//! what is left of the loop has a shape of its own. A loop with several heads, which no structured program has, is
//! entered through a dispatcher at its start. A block that leads to itself many times is a loop of its own even where it is
//! the head of a larger one, so that its turns neither pass that one's dispatcher nor keep what only that one needs.
//! Everything else is a forward way, out of enough nested blocks.

use crate::ir::region::{Region, Way, Ways};

/// A part of a shape: parts are in an order in which every way leads forward, or to a head of a loop around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A block of the region.
    Block(usize),
    /// A loop.
    Loop(Loop),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    /// Blocks that are entered from outside; a single one is the first part of the body, or the head of that.
    pub heads: Vec<usize>,
    pub body: Vec<Part>,
}

impl Part {
    /// The blocks by which it is entered.
    pub(super) fn heads(&self) -> &[usize] {
        match self {
            Part::Block(block) => std::slice::from_ref(block),
            Part::Loop(part) => &part.heads,
        }
    }

    /// Calls `f` with every block in it.
    pub(super) fn for_each_block(&self, f: &mut impl FnMut(usize)) {
        match self {
            Part::Block(block) => f(*block),
            Part::Loop(part) => part.body.iter().for_each(|part| part.for_each_block(f)),
        }
    }
}

/// The shape of all blocks that can be reached from the entry, which is the head of the first part. Where indirect jumps lead
/// to blocks of the region, they do by a block that is not one of the region and has the number behind the last one.
pub(super) fn shape(region: &Region, jumps: &[usize]) -> Vec<Part> {
    let switch = (!jumps.is_empty()).then_some(region.blocks.len());
    let mut ways: Vec<Vec<usize>> = region
        .blocks
        .iter()
        .map(|block| {
            let mut to = Vec::new();
            block.ways.for_each(|way| to.extend(if let Way::Block(to) = way { Some(to) } else { None }));
            to.extend(switch.filter(|_| block.ways == Ways::Indirect));
            to
        })
        .collect();
    ways.extend(switch.map(|_| jumps.to_vec()));
    let mut reached = vec![false; ways.len()];
    let mut open = vec![0];
    while let Some(block) = open.pop() {
        if !std::mem::replace(&mut reached[block], true) {
            open.extend(&ways[block]);
        }
    }
    let blocks: Vec<usize> = (0..ways.len()).filter(|&block| reached[block]).collect();
    let mut repeats: Vec<bool> =
        (0..region.blocks.len()).map(|block| region.is_loop(block) && region.turns_often(block)).collect();
    repeats.resize(ways.len(), false);
    Graph { ways: &ways, repeats, cut: vec![false; ways.len()] }.parts(&blocks)
}

struct Graph<'a> {
    ways: &'a [Vec<usize>],
    /// Blocks that lead to themselves many times.
    repeats: Vec<bool>,
    /// Ways to these do not count: they are heads of a loop around what is looked at.
    cut: Vec<bool>,
}

impl Graph<'_> {
    fn parts(&mut self, blocks: &[usize]) -> Vec<Part> {
        let mut components = Components {
            graph: self,
            inside: vec![false; self.ways.len()],
            number: vec![0; self.ways.len()],
            low: vec![0; self.ways.len()],
            next: 1,
            stack: Vec::new(),
            found: Vec::new(),
        };
        blocks.iter().for_each(|&block| components.inside[block] = true);
        blocks.iter().for_each(|&block| components.visit(block));
        let mut found = components.found;
        found.reverse();
        found.into_iter().map(|component| self.part(component)).collect()
    }

    fn part(&mut self, mut component: Vec<usize>) -> Part {
        if let &[block] = &component[..] {
            let is_loop = self.repeats[block] || !self.cut[block] && self.ways[block].contains(&block);
            let alone = Part::Block(block);
            return if is_loop { Part::Loop(Loop { heads: component, body: vec![alone] }) } else { alone };
        }
        component.sort_unstable();
        let entered = |head: &usize| {
            *head == 0
                || (0..self.ways.len())
                    .any(|from| self.ways[from].contains(head) && component.binary_search(&from).is_err())
        };
        let mut heads: Vec<usize> = component.iter().copied().filter(entered).collect();
        if heads.is_empty() {
            heads.push(component[0]);
        }
        heads.iter().for_each(|&head| self.cut[head] = true);
        let body = self.parts(&component);
        Part::Loop(Loop { heads, body })
    }
}

/// Tarjan's search for strongly connected components; it finds those behind a component before it.
struct Components<'a, 'g> {
    graph: &'a Graph<'g>,
    inside: Vec<bool>,
    /// Order in which blocks were visited, from 1; 0 if not yet.
    number: Vec<u32>,
    /// The first block on the stack that can be reached; `u32::MAX` when the component is complete.
    low: Vec<u32>,
    next: u32,
    stack: Vec<usize>,
    found: Vec<Vec<usize>>,
}

impl Components<'_, '_> {
    fn visit(&mut self, block: usize) {
        if self.number[block] != 0 {
            return;
        }
        let depth = self.stack.len();
        self.stack.push(block);
        (self.number[block], self.low[block]) = (self.next, self.next);
        self.next += 1;
        let graph = self.graph;
        for &to in &graph.ways[block] {
            if self.inside[to] && !graph.cut[to] {
                self.visit(to);
                self.low[block] = self.low[block].min(self.low[to]);
            }
        }
        if self.low[block] == self.number[block] {
            let component = self.stack.split_off(depth);
            component.iter().for_each(|&block| self.low[block] = u32::MAX);
            self.found.push(component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::block::Block;
    use crate::ir::region::RegionBlock;

    fn region(ways: &[&[usize]]) -> Region {
        let blocks = ways.iter().map(|ways| RegionBlock {
            block: Block::default(),
            start: 0,
            insns: 1,
            weight: 1,
            ways: match **ways {
                [] => Ways::None,
                [to] => Ways::One(Way::Block(to)),
                [taken, next, ..] => Ways::Branch { taken: Way::Block(taken), next: Way::Block(next) },
            },
        });
        Region { blocks: blocks.collect() }
    }

    #[test]
    fn a_block_that_repeats_is_a_loop_in_the_loop_that_it_is_the_head_of() {
        let mut region = region(&[&[0, 1], &[0, 2], &[]]);
        assert_eq!(text(&shape(&region, &[])), "[0](0 1) 2");
        region.blocks[0].weight = 8;
        assert_eq!(text(&shape(&region, &[])), "[0]([0](0) 1) 2");
        region = self::region(&[&[1, 2], &[1, 2], &[1, 3], &[]]);
        region.blocks[1].weight = 8;
        assert_eq!(text(&shape(&region, &[])), "0 [1, 2](2 [1](1)) 3");
    }

    fn text(parts: &[Part]) -> String {
        let part = |part: &Part| match part {
            Part::Block(block) => block.to_string(),
            Part::Loop(inner) => format!("{:?}({})", inner.heads, text(&inner.body)),
        };
        parts.iter().map(part).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn loops_are_found_and_nested() {
        let cases: &[(&[&[usize]], &str)] = &[
            (&[&[1, 2], &[3], &[3], &[]], "0 2 1 3"),
            (&[&[0, 1], &[]], "[0](0) 1"),
            (&[&[1], &[2], &[1, 3], &[0, 4], &[]], "[0](0 [1](1 2) 3) 4"),
            // Two ways into a cycle.
            (&[&[1, 2], &[2, 3], &[1], &[]], "0 [1, 2](2 1) 3"),
            // A block that nothing leads to is left out.
            (&[&[], &[0]], "0"),
        ];
        for (ways, want) in cases {
            assert_eq!(text(&shape(&region(ways), &[])), *want, "{ways:?}");
        }
    }

    #[test]
    fn indirect_jumps_meet_before_they_part() {
        let jumping = |blocks: usize| {
            let mut region = region(&vec![&[][..]; blocks]);
            region.blocks.iter_mut().for_each(|block| block.ways = Ways::Indirect);
            region
        };
        // From 0, 1 and 2 on to 1, 2 or elsewhere, by the switch.
        assert_eq!(text(&shape(&jumping(3), &[1, 2])), "0 [3](3 2 1)");
        assert_eq!(text(&shape(&jumping(1), &[0])), "[0](0 1)");
        assert_eq!(text(&shape(&jumping(1), &[])), "0");
    }
}
