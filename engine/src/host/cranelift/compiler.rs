//! From a region to bytes of code for this processor.

use super::HostError;
use crate::host::regions::Compiler;
use crate::ir::region::Region;
use crate::lower::calls::unlinked;
use crate::lower::clif::{Target, lower, region_signature};
use crate::lower::links::Plan;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, types};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{Configurable, Flags, builder};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// A compiled region.
pub struct Compiled {
    pub(super) code: Vec<u8>,
    pub(super) plan: Plan,
}

/// Compiles functions for this processor.
pub struct FunctionCompiler {
    isa: OwnedTargetIsa,
    target: Target,
    context: Context,
    builder: FunctionBuilderContext,
}

fn refused(error: impl std::fmt::Display) -> HostError {
    HostError::Compiler(format!("Cranelift: {error}").into())
}

impl FunctionCompiler {
    /// A compiler for regions of this target.
    ///
    /// # Errors
    /// Cranelift does not know this processor.
    pub(super) fn new(target: Target) -> Result<Self, HostError> {
        let mut flags = builder();
        // The IR that comes in has been folded already, so that `opt_level` brings less than it costs. Calls in tail
        // position want frame pointers.
        let settings = [
            ("opt_level", "none"),
            ("enable_verifier", "false"),
            ("unwind_info", "false"),
            ("preserve_frame_pointers", "true"),
        ];
        for (name, value) in settings {
            flags.set(name, value).map_err(refused)?;
        }
        let isa = cranelift_native::builder().map_err(refused)?.finish(Flags::new(flags)).map_err(refused)?;
        // Where x86 lacks an instruction Cranelift calls a library. Other processors have all that is asked for.
        let has = |feature: &str| {
            let flags = isa.isa_flags();
            flags.iter().find(|flag| flag.name == feature).is_none_or(|flag| flag.as_bool() == Some(true))
        };
        let target = Target { rounds: has("has_sse41"), fuses: has("has_fma"), ..target };
        Ok(Self { isa, target, context: Context::new(), builder: FunctionBuilderContext::new() })
    }

    /// What calls a region from outside: a function of the vCPU and the region's address, which gives what the last region gave
    /// that it led to.
    pub(super) fn entry(&mut self) -> Result<Vec<u8>, HostError> {
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params.extend([AbiParam::new(types::I64); 2]);
        signature.returns.push(AbiParam::new(types::I32));
        self.small(signature, |build, vcpu, region| {
            let signature = build.import_signature(region_signature());
            let no_cell = build.ins().iconst(types::I64, 0);
            let call = build.ins().call_indirect(signature, region, &[vcpu, no_cell]);
            let returned = build.inst_results(call)[0];
            build.ins().return_(&[returned]);
        })
    }

    /// What unlinked cells lead to: like a region, it gives what tells its cell.
    pub(super) fn unlinked(&mut self) -> Result<Vec<u8>, HostError> {
        self.small(region_signature(), |build, _, cell| {
            let cell = build.ins().ireduce(types::I32, cell);
            let first = build.ins().iconst(types::I32, i64::from(unlinked(0)));
            let returned = build.ins().isub(first, cell);
            build.ins().return_(&[returned]);
        })
    }

    /// A function of one block and two parameters.
    fn small(
        &mut self,
        signature: Signature,
        write: impl FnOnce(&mut FunctionBuilder<'_>, cranelift_codegen::ir::Value, cranelift_codegen::ir::Value),
    ) -> Result<Vec<u8>, HostError> {
        self.context.clear();
        self.context.func = Function::with_name_signature(Default::default(), signature);
        let mut build = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let block = build.create_block();
        build.append_block_params_for_function_params(block);
        build.switch_to_block(block);
        let (a, b) = (build.block_params(block)[0], build.block_params(block)[1]);
        write(&mut build, a, b);
        build.seal_all_blocks();
        build.finalize(self.isa.frontend_config());
        self.emit()
    }

    fn emit(&mut self) -> Result<Vec<u8>, HostError> {
        let compiled = self.context.compile(&*self.isa, &mut ControlPlane::default());
        let compiled = compiled.map_err(|error| refused(format!("{:?}", error.inner)))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(refused("the code needs relocation"));
        }
        Ok(compiled.code_buffer().to_vec())
    }
}

impl Compiler for FunctionCompiler {
    type Compiled = Compiled;

    fn compile(&mut self, region: &Region, plan: Plan) -> Result<Compiled, HostError> {
        self.context.clear();
        self.context.func = Function::with_name_signature(Default::default(), region_signature());
        let config = self.isa.frontend_config();
        lower(&mut self.context.func, &mut self.builder, config, region, &self.target, &plan);
        Ok(Compiled { code: self.emit()?, plan })
    }
}
