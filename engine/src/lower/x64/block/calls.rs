//! What a block calls out for: sites and what is described of them, and helpers.

use super::{Emitter, Loc, NEVER};
use crate::addr::Width::{self, W64};
use crate::ir::block::{Op, Value};
use crate::lower::x64::asm::{Label, Mem, Reg};
use crate::lower::x64::cold::{Address, Cold, Fix, Look};
use crate::lower::x64::flow::write_back;
use crate::lower::x64::plan::{FIRST_VECTOR, touches_state};
use crate::lower::x64::vectors::{read_vector, write_vector};
use crate::lower::x64::{Outcome, Place, Site, field, slot};

impl Emitter<'_> {
    /// Describes a site: what it does and where everything is.
    pub fn site(&mut self, op: &Op, operands: &[Value], result: Option<Reg>) -> u32 {
        let mut places = [Place::Const(0); 4];
        for (place, &value) in places.iter_mut().zip(operands) {
            *place = self.place(value);
        }
        self.site_at(op, places, operands.len(), result.into())
    }

    /// The same with the places of its operands.
    pub fn site_at(&mut self, op: &Op, operands: [Place; 4], count: usize, outcome: Outcome) -> u32 {
        self.kept_at_site = self.kept();
        let pending = self.s.pending.iter();
        let pending = pending.map(|pending| (pending.slot, self.place(pending.value))).collect();
        self.in_site = false;
        let unretired = self.insns.wrapping_sub(self.before);
        self.sites.push(Site {
            op: *op,
            operands,
            count: count as u8,
            outcome,
            insn: self.insn,
            unretired,
            pending,
        });
        self.sites.len() as u32 - 1
    }

    pub fn place(&self, value: Value) -> Place {
        match self.loc(value) {
            Loc::Const(number) => Place::Const(number),
            Loc::Temp(reg) | Loc::Home(reg) => Place::Reg(reg),
            Loc::Spill(place) => Place::Spill(place),
            Loc::Slot(_) | Loc::Nowhere => unreachable!("what a site is told of is where it is found"),
        }
    }

    /// Calls out for all that an operation does.
    pub fn call_out(&mut self, v: Value, op: &Op, operands: &[Value]) {
        let result = match op.result() {
            Some(_) => self.result_register(v),
            None => None,
        };
        operands.iter().for_each(|&value| self.out_of_slot(value));
        let site = self.site(op, operands, result);
        self.asm.call_fixed(self.stubs.call_out(self.plan.has_vectors()));
        self.asm.note(site);
        self.release_operands(operands);
        if let Some(reg) = result {
            self.define(v, reg);
        }
    }

    /// Calls a helper. What it may touch is written to memory here and, if it may have changed, read again: so where that is
    /// need not be looked up.
    pub(super) fn helper(&mut self, v: Value, op: &Op, args: &[Value]) {
        let Op::Helper { id, .. } = *op else { unreachable!("the operation is a call of a helper") };
        if self.helper_in_line(v, id, args) {
            return;
        }
        let effects = self.request.helpers[usize::from(id.0)].effects;
        let touches = touches_state(op, self.request.helpers);
        if touches {
            self.give_up_homes();
        } else if effects.traps {
            return self.call_out(v, op, args);
        }
        if effects.writes_state {
            self.give_up_slots();
        }
        let result = self.result_register(v);
        args.iter().for_each(|&value| self.out_of_slot(value));
        for (number, &arg) in args.iter().enumerate() {
            let field = field!(helper_arguments);
            let place = Mem { disp: field.disp + 8 * number as i32, ..field };
            self.store_value(place, arg);
        }
        if touches {
            // Vector registers are written below, whether they need it or not.
            write_back(self.asm, self.plan, self.dirty & ((1 << FIRST_VECTOR) - 1));
        }
        for home in &self.plan.vector_homes {
            write_vector(self.asm, home.slot, home.reg);
        }
        let site = self.site(op, args, None);
        self.asm.mov_imm(Reg::RCX, id.0.into());
        self.asm.call_fixed(self.stubs.helper);
        self.asm.note(site);
        if effects.writes_state {
            for home in &self.plan.homes {
                self.asm.load(W64, home.reg, slot(home.slot));
            }
        }
        for home in &self.plan.vector_homes {
            read_vector(self.asm, home.reg, slot(home.slot));
        }
        if let Some(reg) = result {
            self.asm.mov(reg, Reg::RAX);
        }
        self.release_operands(args);
        if let Some(reg) = result {
            self.define(v, reg);
        }
    }

    /// The register for the result of a site, if anybody uses it.
    pub fn result_register(&mut self, v: Value) -> Option<Reg> {
        (self.s.last_use[v.0 as usize] != NEVER).then(|| self.dest(v, None))
    }

    pub fn add_fix(&mut self, fix: Fix) {
        self.s.fixes.push(fix);
    }

    /// Has a site that was just described called out to behind the block; gives where that goes on.
    pub fn cold(&mut self, label: Label, site: u32) -> Label {
        self.cold_access(label, site, None, None)
    }

    /// The same for an access to an address, whose result may be extended.
    pub fn cold_access(
        &mut self,
        label: Label,
        site: u32,
        address: Option<Address>,
        extended: Option<(Width, Reg)>,
    ) -> Label {
        let back = self.asm.label();
        let kept = self.kept_at_site;
        self.s.cold.push(Cold { label, site, back: Some(back), address, extended, kept });
        back
    }

    /// Has the other place of a page, or by itself, looked at behind the block.
    pub fn look_first(&mut self, look: Look) {
        self.s.looks.push(look);
    }
}
