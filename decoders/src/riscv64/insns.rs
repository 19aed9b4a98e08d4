//! The instruction table: name, operands and fixed bits of every instruction, stated once.
//!
//! [`Op`], the decoder, the disassembler and the assembler all come from these lines; [`super::table`] says how
//! they read. Where two lines overlap the more specific one comes first. Compressed instructions are other
//! encodings of these and have no lines of their own ([`super::compressed`]).

use super::table::Row;

macro_rules! insns {
    ($($op:ident $line:literal;)*) => {
        /// What an instruction does: a line of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "the table is the documentation")]
        pub enum Op { $($op,)* Illegal }

        impl Op {
            /// Every instruction, in the table's order; [`Op::Illegal`] is none.
            pub const ALL: &'static [Op] = &[$(Op::$op,)*];
        }

        /// The lines, indexed by [`Op`], for evaluation at compile time.
        pub(super) const TABLE: [Row; Op::ALL.len()] = [$(Row::parse($line),)*];

        /// The lines, indexed by [`Op`].
        pub static ROWS: [Row; Op::ALL.len()] = TABLE;
    };
}

insns! {
    // RV32I and RV64I (Unpriv. 2 and 4).
    Lui           "lui rd imm20 6..2=0x0d 1..0=3";
    Auipc         "auipc rd imm20 6..2=0x05 1..0=3";
    Jal           "jal rd jimm20 6..2=0x1b 1..0=3 end";
    Jalr          "jalr rd imm12(rs1) 14..12=0 6..2=0x19 1..0=3 end";
    Beq           "beq rs1 rs2 bimm12 14..12=0 6..2=0x18 1..0=3 end";
    Bne           "bne rs1 rs2 bimm12 14..12=1 6..2=0x18 1..0=3 end";
    Blt           "blt rs1 rs2 bimm12 14..12=4 6..2=0x18 1..0=3 end";
    Bge           "bge rs1 rs2 bimm12 14..12=5 6..2=0x18 1..0=3 end";
    Bltu          "bltu rs1 rs2 bimm12 14..12=6 6..2=0x18 1..0=3 end";
    Bgeu          "bgeu rs1 rs2 bimm12 14..12=7 6..2=0x18 1..0=3 end";
    Lb            "lb rd imm12(rs1) 14..12=0 6..2=0x00 1..0=3";
    Lh            "lh rd imm12(rs1) 14..12=1 6..2=0x00 1..0=3";
    Lw            "lw rd imm12(rs1) 14..12=2 6..2=0x00 1..0=3";
    Ld            "ld rd imm12(rs1) 14..12=3 6..2=0x00 1..0=3";
    Lbu           "lbu rd imm12(rs1) 14..12=4 6..2=0x00 1..0=3";
    Lhu           "lhu rd imm12(rs1) 14..12=5 6..2=0x00 1..0=3";
    Lwu           "lwu rd imm12(rs1) 14..12=6 6..2=0x00 1..0=3";
    Sb            "sb rs2 simm12(rs1) 14..12=0 6..2=0x08 1..0=3";
    Sh            "sh rs2 simm12(rs1) 14..12=1 6..2=0x08 1..0=3";
    Sw            "sw rs2 simm12(rs1) 14..12=2 6..2=0x08 1..0=3";
    Sd            "sd rs2 simm12(rs1) 14..12=3 6..2=0x08 1..0=3";
    Addi          "addi rd rs1 imm12 14..12=0 6..2=0x04 1..0=3";
    Slti          "slti rd rs1 imm12 14..12=2 6..2=0x04 1..0=3";
    Sltiu         "sltiu rd rs1 imm12 14..12=3 6..2=0x04 1..0=3";
    Xori          "xori rd rs1 imm12 14..12=4 6..2=0x04 1..0=3";
    Ori           "ori rd rs1 imm12 14..12=6 6..2=0x04 1..0=3";
    Andi          "andi rd rs1 imm12 14..12=7 6..2=0x04 1..0=3";
    Slli          "slli rd rs1 shamt6 31..26=0x00 14..12=1 6..2=0x04 1..0=3";
    Srli          "srli rd rs1 shamt6 31..26=0x00 14..12=5 6..2=0x04 1..0=3";
    Srai          "srai rd rs1 shamt6 31..26=0x10 14..12=5 6..2=0x04 1..0=3";
    Add           "add rd rs1 rs2 31..25=0x00 14..12=0 6..2=0x0c 1..0=3";
    Sub           "sub rd rs1 rs2 31..25=0x20 14..12=0 6..2=0x0c 1..0=3";
    Sll           "sll rd rs1 rs2 31..25=0x00 14..12=1 6..2=0x0c 1..0=3";
    Slt           "slt rd rs1 rs2 31..25=0x00 14..12=2 6..2=0x0c 1..0=3";
    Sltu          "sltu rd rs1 rs2 31..25=0x00 14..12=3 6..2=0x0c 1..0=3";
    Xor           "xor rd rs1 rs2 31..25=0x00 14..12=4 6..2=0x0c 1..0=3";
    Srl           "srl rd rs1 rs2 31..25=0x00 14..12=5 6..2=0x0c 1..0=3";
    Sra           "sra rd rs1 rs2 31..25=0x20 14..12=5 6..2=0x0c 1..0=3";
    Or            "or rd rs1 rs2 31..25=0x00 14..12=6 6..2=0x0c 1..0=3";
    And           "and rd rs1 rs2 31..25=0x00 14..12=7 6..2=0x0c 1..0=3";
    Addiw         "addiw rd rs1 imm12 14..12=0 6..2=0x06 1..0=3";
    Slliw         "slliw rd rs1 shamt5 31..25=0x00 14..12=1 6..2=0x06 1..0=3";
    Srliw         "srliw rd rs1 shamt5 31..25=0x00 14..12=5 6..2=0x06 1..0=3";
    Sraiw         "sraiw rd rs1 shamt5 31..25=0x20 14..12=5 6..2=0x06 1..0=3";
    Addw          "addw rd rs1 rs2 31..25=0x00 14..12=0 6..2=0x0e 1..0=3";
    Subw          "subw rd rs1 rs2 31..25=0x20 14..12=0 6..2=0x0e 1..0=3";
    Sllw          "sllw rd rs1 rs2 31..25=0x00 14..12=1 6..2=0x0e 1..0=3";
    Srlw          "srlw rd rs1 rs2 31..25=0x00 14..12=5 6..2=0x0e 1..0=3";
    Sraw          "sraw rd rs1 rs2 31..25=0x20 14..12=5 6..2=0x0e 1..0=3";
    // Reserved fence modes and sets behave as ordinary fences (Unpriv. 2.7). Zihintpause is `fence w, 0`.
    Fence         "fence fence 14..12=0 6..2=0x03 1..0=3";
    Ecall         "ecall 31..20=0x000 19..7=0 6..2=0x1c 1..0=3 end";
    Ebreak        "ebreak 31..20=0x001 19..7=0 6..2=0x1c 1..0=3 end";
    // Zifencei (Unpriv. 6).
    FenceI        "fence.i 14..12=1 6..2=0x03 1..0=3 end";
    // Zicsr (Unpriv. 7).
    Csrrw         "csrrw rd csr rs1 14..12=1 6..2=0x1c 1..0=3 end";
    Csrrs         "csrrs rd csr rs1 14..12=2 6..2=0x1c 1..0=3 end";
    Csrrc         "csrrc rd csr rs1 14..12=3 6..2=0x1c 1..0=3 end";
    Csrrwi        "csrrwi rd csr zimm5 14..12=5 6..2=0x1c 1..0=3 end";
    Csrrsi        "csrrsi rd csr zimm5 14..12=6 6..2=0x1c 1..0=3 end";
    Csrrci        "csrrci rd csr zimm5 14..12=7 6..2=0x1c 1..0=3 end";
    // Privileged instructions and Svinval (Priv. 3.3 and 12.2), Zawrs (Unpriv. 14).
    Sret          "sret 31..20=0x102 19..7=0 6..2=0x1c 1..0=3 end";
    Mret          "mret 31..20=0x302 19..7=0 6..2=0x1c 1..0=3 end";
    Wfi           "wfi 31..20=0x105 19..7=0 6..2=0x1c 1..0=3 end";
    SfenceWInval  "sfence.w.inval 31..20=0x180 19..7=0 6..2=0x1c 1..0=3 end";
    SfenceInvalIr "sfence.inval.ir 31..20=0x181 19..7=0 6..2=0x1c 1..0=3 end";
    WrsNto        "wrs.nto 31..20=0x00d 19..7=0 6..2=0x1c 1..0=3 end";
    WrsSto        "wrs.sto 31..20=0x01d 19..7=0 6..2=0x1c 1..0=3 end";
    SfenceVma     "sfence.vma rs1 rs2 31..25=0x09 14..7=0 6..2=0x1c 1..0=3 end";
    SinvalVma     "sinval.vma rs1 rs2 31..25=0x0b 14..7=0 6..2=0x1c 1..0=3 end";
    // Zicbom and Zicboz (Unpriv. 19). Prefetches (Zicbop) are ORI to x0 and need no line.
    CboInval      "cbo.inval (rs1) 31..20=0x000 14..12=2 11..7=0 6..2=0x03 1..0=3";
    CboClean      "cbo.clean (rs1) 31..20=0x001 14..12=2 11..7=0 6..2=0x03 1..0=3";
    CboFlush      "cbo.flush (rs1) 31..20=0x002 14..12=2 11..7=0 6..2=0x03 1..0=3";
    CboZero       "cbo.zero (rs1) 31..20=0x004 14..12=2 11..7=0 6..2=0x03 1..0=3";
    // M (Unpriv. 12).
    Mul           "mul rd rs1 rs2 31..25=0x01 14..12=0 6..2=0x0c 1..0=3";
    Mulh          "mulh rd rs1 rs2 31..25=0x01 14..12=1 6..2=0x0c 1..0=3";
    Mulhsu        "mulhsu rd rs1 rs2 31..25=0x01 14..12=2 6..2=0x0c 1..0=3";
    Mulhu         "mulhu rd rs1 rs2 31..25=0x01 14..12=3 6..2=0x0c 1..0=3";
    Div           "div rd rs1 rs2 31..25=0x01 14..12=4 6..2=0x0c 1..0=3";
    Divu          "divu rd rs1 rs2 31..25=0x01 14..12=5 6..2=0x0c 1..0=3";
    Rem           "rem rd rs1 rs2 31..25=0x01 14..12=6 6..2=0x0c 1..0=3";
    Remu          "remu rd rs1 rs2 31..25=0x01 14..12=7 6..2=0x0c 1..0=3";
    Mulw          "mulw rd rs1 rs2 31..25=0x01 14..12=0 6..2=0x0e 1..0=3";
    Divw          "divw rd rs1 rs2 31..25=0x01 14..12=4 6..2=0x0e 1..0=3";
    Divuw         "divuw rd rs1 rs2 31..25=0x01 14..12=5 6..2=0x0e 1..0=3";
    Remw          "remw rd rs1 rs2 31..25=0x01 14..12=6 6..2=0x0e 1..0=3";
    Remuw         "remuw rd rs1 rs2 31..25=0x01 14..12=7 6..2=0x0e 1..0=3";
    // A (Unpriv. 13).
    LrW           "lr.w rd (rs1) aqrl 31..27=0x02 24..20=0 14..12=2 6..2=0x0b 1..0=3";
    ScW           "sc.w rd rs2 (rs1) aqrl 31..27=0x03 14..12=2 6..2=0x0b 1..0=3";
    AmoswapW      "amoswap.w rd rs2 (rs1) aqrl 31..27=0x01 14..12=2 6..2=0x0b 1..0=3";
    AmoaddW       "amoadd.w rd rs2 (rs1) aqrl 31..27=0x00 14..12=2 6..2=0x0b 1..0=3";
    AmoxorW       "amoxor.w rd rs2 (rs1) aqrl 31..27=0x04 14..12=2 6..2=0x0b 1..0=3";
    AmoandW       "amoand.w rd rs2 (rs1) aqrl 31..27=0x0c 14..12=2 6..2=0x0b 1..0=3";
    AmoorW        "amoor.w rd rs2 (rs1) aqrl 31..27=0x08 14..12=2 6..2=0x0b 1..0=3";
    AmominW       "amomin.w rd rs2 (rs1) aqrl 31..27=0x10 14..12=2 6..2=0x0b 1..0=3";
    AmomaxW       "amomax.w rd rs2 (rs1) aqrl 31..27=0x14 14..12=2 6..2=0x0b 1..0=3";
    AmominuW      "amominu.w rd rs2 (rs1) aqrl 31..27=0x18 14..12=2 6..2=0x0b 1..0=3";
    AmomaxuW      "amomaxu.w rd rs2 (rs1) aqrl 31..27=0x1c 14..12=2 6..2=0x0b 1..0=3";
    LrD           "lr.d rd (rs1) aqrl 31..27=0x02 24..20=0 14..12=3 6..2=0x0b 1..0=3";
    ScD           "sc.d rd rs2 (rs1) aqrl 31..27=0x03 14..12=3 6..2=0x0b 1..0=3";
    AmoswapD      "amoswap.d rd rs2 (rs1) aqrl 31..27=0x01 14..12=3 6..2=0x0b 1..0=3";
    AmoaddD       "amoadd.d rd rs2 (rs1) aqrl 31..27=0x00 14..12=3 6..2=0x0b 1..0=3";
    AmoxorD       "amoxor.d rd rs2 (rs1) aqrl 31..27=0x04 14..12=3 6..2=0x0b 1..0=3";
    AmoandD       "amoand.d rd rs2 (rs1) aqrl 31..27=0x0c 14..12=3 6..2=0x0b 1..0=3";
    AmoorD        "amoor.d rd rs2 (rs1) aqrl 31..27=0x08 14..12=3 6..2=0x0b 1..0=3";
    AmominD       "amomin.d rd rs2 (rs1) aqrl 31..27=0x10 14..12=3 6..2=0x0b 1..0=3";
    AmomaxD       "amomax.d rd rs2 (rs1) aqrl 31..27=0x14 14..12=3 6..2=0x0b 1..0=3";
    AmominuD      "amominu.d rd rs2 (rs1) aqrl 31..27=0x18 14..12=3 6..2=0x0b 1..0=3";
    AmomaxuD      "amomaxu.d rd rs2 (rs1) aqrl 31..27=0x1c 14..12=3 6..2=0x0b 1..0=3";
    // Zba (Unpriv. 28.4.1).
    AddUw         "add.uw rd rs1 rs2 31..25=0x04 14..12=0 6..2=0x0e 1..0=3";
    Sh1add        "sh1add rd rs1 rs2 31..25=0x10 14..12=2 6..2=0x0c 1..0=3";
    Sh2add        "sh2add rd rs1 rs2 31..25=0x10 14..12=4 6..2=0x0c 1..0=3";
    Sh3add        "sh3add rd rs1 rs2 31..25=0x10 14..12=6 6..2=0x0c 1..0=3";
    Sh1addUw      "sh1add.uw rd rs1 rs2 31..25=0x10 14..12=2 6..2=0x0e 1..0=3";
    Sh2addUw      "sh2add.uw rd rs1 rs2 31..25=0x10 14..12=4 6..2=0x0e 1..0=3";
    Sh3addUw      "sh3add.uw rd rs1 rs2 31..25=0x10 14..12=6 6..2=0x0e 1..0=3";
    SlliUw        "slli.uw rd rs1 shamt6 31..26=0x02 14..12=1 6..2=0x06 1..0=3";
    // Zbb (Unpriv. 28.4.2).
    Andn          "andn rd rs1 rs2 31..25=0x20 14..12=7 6..2=0x0c 1..0=3";
    Orn           "orn rd rs1 rs2 31..25=0x20 14..12=6 6..2=0x0c 1..0=3";
    Xnor          "xnor rd rs1 rs2 31..25=0x20 14..12=4 6..2=0x0c 1..0=3";
    Max           "max rd rs1 rs2 31..25=0x05 14..12=6 6..2=0x0c 1..0=3";
    Maxu          "maxu rd rs1 rs2 31..25=0x05 14..12=7 6..2=0x0c 1..0=3";
    Min           "min rd rs1 rs2 31..25=0x05 14..12=4 6..2=0x0c 1..0=3";
    Minu          "minu rd rs1 rs2 31..25=0x05 14..12=5 6..2=0x0c 1..0=3";
    Rol           "rol rd rs1 rs2 31..25=0x30 14..12=1 6..2=0x0c 1..0=3";
    Ror           "ror rd rs1 rs2 31..25=0x30 14..12=5 6..2=0x0c 1..0=3";
    Rolw          "rolw rd rs1 rs2 31..25=0x30 14..12=1 6..2=0x0e 1..0=3";
    Rorw          "rorw rd rs1 rs2 31..25=0x30 14..12=5 6..2=0x0e 1..0=3";
    Rori          "rori rd rs1 shamt6 31..26=0x18 14..12=5 6..2=0x04 1..0=3";
    Roriw         "roriw rd rs1 shamt5 31..25=0x30 14..12=5 6..2=0x06 1..0=3";
    Clz           "clz rd rs1 31..20=0x600 14..12=1 6..2=0x04 1..0=3";
    Ctz           "ctz rd rs1 31..20=0x601 14..12=1 6..2=0x04 1..0=3";
    Cpop          "cpop rd rs1 31..20=0x602 14..12=1 6..2=0x04 1..0=3";
    Clzw          "clzw rd rs1 31..20=0x600 14..12=1 6..2=0x06 1..0=3";
    Ctzw          "ctzw rd rs1 31..20=0x601 14..12=1 6..2=0x06 1..0=3";
    Cpopw         "cpopw rd rs1 31..20=0x602 14..12=1 6..2=0x06 1..0=3";
    SextB         "sext.b rd rs1 31..20=0x604 14..12=1 6..2=0x04 1..0=3";
    SextH         "sext.h rd rs1 31..20=0x605 14..12=1 6..2=0x04 1..0=3";
    ZextH         "zext.h rd rs1 31..20=0x080 14..12=4 6..2=0x0e 1..0=3";
    OrcB          "orc.b rd rs1 31..20=0x287 14..12=5 6..2=0x04 1..0=3";
    Rev8          "rev8 rd rs1 31..20=0x6b8 14..12=5 6..2=0x04 1..0=3";
    // Zbc (Unpriv. 28.4.3).
    Clmul         "clmul rd rs1 rs2 31..25=0x05 14..12=1 6..2=0x0c 1..0=3";
    Clmulr        "clmulr rd rs1 rs2 31..25=0x05 14..12=2 6..2=0x0c 1..0=3";
    Clmulh        "clmulh rd rs1 rs2 31..25=0x05 14..12=3 6..2=0x0c 1..0=3";
    // Zbs (Unpriv. 28.4.4).
    Bclr          "bclr rd rs1 rs2 31..25=0x24 14..12=1 6..2=0x0c 1..0=3";
    Bext          "bext rd rs1 rs2 31..25=0x24 14..12=5 6..2=0x0c 1..0=3";
    Binv          "binv rd rs1 rs2 31..25=0x34 14..12=1 6..2=0x0c 1..0=3";
    Bset          "bset rd rs1 rs2 31..25=0x14 14..12=1 6..2=0x0c 1..0=3";
    Bclri         "bclri rd rs1 shamt6 31..26=0x12 14..12=1 6..2=0x04 1..0=3";
    Bexti         "bexti rd rs1 shamt6 31..26=0x12 14..12=5 6..2=0x04 1..0=3";
    Binvi         "binvi rd rs1 shamt6 31..26=0x1a 14..12=1 6..2=0x04 1..0=3";
    Bseti         "bseti rd rs1 shamt6 31..26=0x0a 14..12=1 6..2=0x04 1..0=3";
    // Zicond (Unpriv. 16).
    CzeroEqz      "czero.eqz rd rs1 rs2 31..25=0x07 14..12=5 6..2=0x0c 1..0=3";
    CzeroNez      "czero.nez rd rs1 rs2 31..25=0x07 14..12=7 6..2=0x0c 1..0=3";
    // F (Unpriv. 20) with Zfa (Unpriv. 24).
    Flw           "flw fd imm12(rs1) 14..12=2 6..2=0x01 1..0=3";
    Fsw           "fsw fs2 simm12(rs1) 14..12=2 6..2=0x09 1..0=3";
    FmaddS        "fmadd.s fd fs1 fs2 fs3 rm 26..25=0 6..2=0x10 1..0=3";
    FmsubS        "fmsub.s fd fs1 fs2 fs3 rm 26..25=0 6..2=0x11 1..0=3";
    FnmsubS       "fnmsub.s fd fs1 fs2 fs3 rm 26..25=0 6..2=0x12 1..0=3";
    FnmaddS       "fnmadd.s fd fs1 fs2 fs3 rm 26..25=0 6..2=0x13 1..0=3";
    FaddS         "fadd.s fd fs1 fs2 rm 31..25=0x00 6..2=0x14 1..0=3";
    FsubS         "fsub.s fd fs1 fs2 rm 31..25=0x04 6..2=0x14 1..0=3";
    FmulS         "fmul.s fd fs1 fs2 rm 31..25=0x08 6..2=0x14 1..0=3";
    FdivS         "fdiv.s fd fs1 fs2 rm 31..25=0x0c 6..2=0x14 1..0=3";
    FsqrtS        "fsqrt.s fd fs1 rm 31..25=0x2c 24..20=0 6..2=0x14 1..0=3";
    FsgnjS        "fsgnj.s fd fs1 fs2 31..25=0x10 14..12=0 6..2=0x14 1..0=3";
    FsgnjnS       "fsgnjn.s fd fs1 fs2 31..25=0x10 14..12=1 6..2=0x14 1..0=3";
    FsgnjxS       "fsgnjx.s fd fs1 fs2 31..25=0x10 14..12=2 6..2=0x14 1..0=3";
    FminS         "fmin.s fd fs1 fs2 31..25=0x14 14..12=0 6..2=0x14 1..0=3";
    FmaxS         "fmax.s fd fs1 fs2 31..25=0x14 14..12=1 6..2=0x14 1..0=3";
    FminmS        "fminm.s fd fs1 fs2 31..25=0x14 14..12=2 6..2=0x14 1..0=3";
    FmaxmS        "fmaxm.s fd fs1 fs2 31..25=0x14 14..12=3 6..2=0x14 1..0=3";
    FleS          "fle.s rd fs1 fs2 31..25=0x50 14..12=0 6..2=0x14 1..0=3";
    FltS          "flt.s rd fs1 fs2 31..25=0x50 14..12=1 6..2=0x14 1..0=3";
    FeqS          "feq.s rd fs1 fs2 31..25=0x50 14..12=2 6..2=0x14 1..0=3";
    FleqS         "fleq.s rd fs1 fs2 31..25=0x50 14..12=4 6..2=0x14 1..0=3";
    FltqS         "fltq.s rd fs1 fs2 31..25=0x50 14..12=5 6..2=0x14 1..0=3";
    FcvtWS        "fcvt.w.s rd fs1 rm 31..25=0x60 24..20=0 6..2=0x14 1..0=3";
    FcvtWuS       "fcvt.wu.s rd fs1 rm 31..25=0x60 24..20=1 6..2=0x14 1..0=3";
    FcvtLS        "fcvt.l.s rd fs1 rm 31..25=0x60 24..20=2 6..2=0x14 1..0=3";
    FcvtLuS       "fcvt.lu.s rd fs1 rm 31..25=0x60 24..20=3 6..2=0x14 1..0=3";
    FcvtSW        "fcvt.s.w fd rs1 rm 31..25=0x68 24..20=0 6..2=0x14 1..0=3";
    FcvtSWu       "fcvt.s.wu fd rs1 rm 31..25=0x68 24..20=1 6..2=0x14 1..0=3";
    FcvtSL        "fcvt.s.l fd rs1 rm 31..25=0x68 24..20=2 6..2=0x14 1..0=3";
    FcvtSLu       "fcvt.s.lu fd rs1 rm 31..25=0x68 24..20=3 6..2=0x14 1..0=3";
    FcvtSD        "fcvt.s.d fd fs1 rm 31..25=0x20 24..20=1 6..2=0x14 1..0=3";
    FroundS       "fround.s fd fs1 rm 31..25=0x20 24..20=4 6..2=0x14 1..0=3";
    FroundnxS     "froundnx.s fd fs1 rm 31..25=0x20 24..20=5 6..2=0x14 1..0=3";
    FclassS       "fclass.s rd fs1 31..25=0x70 24..20=0 14..12=1 6..2=0x14 1..0=3";
    FmvXW         "fmv.x.w rd fs1 31..25=0x70 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FmvWX         "fmv.w.x fd rs1 31..25=0x78 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FliS          "fli.s fd constant 31..25=0x78 24..20=1 14..12=0 6..2=0x14 1..0=3";
    // D (Unpriv. 21) with Zfa (Unpriv. 24).
    Fld           "fld fd imm12(rs1) 14..12=3 6..2=0x01 1..0=3";
    Fsd           "fsd fs2 simm12(rs1) 14..12=3 6..2=0x09 1..0=3";
    FmaddD        "fmadd.d fd fs1 fs2 fs3 rm 26..25=1 6..2=0x10 1..0=3";
    FmsubD        "fmsub.d fd fs1 fs2 fs3 rm 26..25=1 6..2=0x11 1..0=3";
    FnmsubD       "fnmsub.d fd fs1 fs2 fs3 rm 26..25=1 6..2=0x12 1..0=3";
    FnmaddD       "fnmadd.d fd fs1 fs2 fs3 rm 26..25=1 6..2=0x13 1..0=3";
    FaddD         "fadd.d fd fs1 fs2 rm 31..25=0x01 6..2=0x14 1..0=3";
    FsubD         "fsub.d fd fs1 fs2 rm 31..25=0x05 6..2=0x14 1..0=3";
    FmulD         "fmul.d fd fs1 fs2 rm 31..25=0x09 6..2=0x14 1..0=3";
    FdivD         "fdiv.d fd fs1 fs2 rm 31..25=0x0d 6..2=0x14 1..0=3";
    FsqrtD        "fsqrt.d fd fs1 rm 31..25=0x2d 24..20=0 6..2=0x14 1..0=3";
    FsgnjD        "fsgnj.d fd fs1 fs2 31..25=0x11 14..12=0 6..2=0x14 1..0=3";
    FsgnjnD       "fsgnjn.d fd fs1 fs2 31..25=0x11 14..12=1 6..2=0x14 1..0=3";
    FsgnjxD       "fsgnjx.d fd fs1 fs2 31..25=0x11 14..12=2 6..2=0x14 1..0=3";
    FminD         "fmin.d fd fs1 fs2 31..25=0x15 14..12=0 6..2=0x14 1..0=3";
    FmaxD         "fmax.d fd fs1 fs2 31..25=0x15 14..12=1 6..2=0x14 1..0=3";
    FminmD        "fminm.d fd fs1 fs2 31..25=0x15 14..12=2 6..2=0x14 1..0=3";
    FmaxmD        "fmaxm.d fd fs1 fs2 31..25=0x15 14..12=3 6..2=0x14 1..0=3";
    FleD          "fle.d rd fs1 fs2 31..25=0x51 14..12=0 6..2=0x14 1..0=3";
    FltD          "flt.d rd fs1 fs2 31..25=0x51 14..12=1 6..2=0x14 1..0=3";
    FeqD          "feq.d rd fs1 fs2 31..25=0x51 14..12=2 6..2=0x14 1..0=3";
    FleqD         "fleq.d rd fs1 fs2 31..25=0x51 14..12=4 6..2=0x14 1..0=3";
    FltqD         "fltq.d rd fs1 fs2 31..25=0x51 14..12=5 6..2=0x14 1..0=3";
    FcvtWD        "fcvt.w.d rd fs1 rm 31..25=0x61 24..20=0 6..2=0x14 1..0=3";
    FcvtWuD       "fcvt.wu.d rd fs1 rm 31..25=0x61 24..20=1 6..2=0x14 1..0=3";
    FcvtLD        "fcvt.l.d rd fs1 rm 31..25=0x61 24..20=2 6..2=0x14 1..0=3";
    FcvtLuD       "fcvt.lu.d rd fs1 rm 31..25=0x61 24..20=3 6..2=0x14 1..0=3";
    FcvtmodWD     "fcvtmod.w.d rd fs1 31..25=0x61 24..20=8 14..12=1 6..2=0x14 1..0=3";
    FcvtDW        "fcvt.d.w fd rs1 rm 31..25=0x69 24..20=0 6..2=0x14 1..0=3";
    FcvtDWu       "fcvt.d.wu fd rs1 rm 31..25=0x69 24..20=1 6..2=0x14 1..0=3";
    FcvtDL        "fcvt.d.l fd rs1 rm 31..25=0x69 24..20=2 6..2=0x14 1..0=3";
    FcvtDLu       "fcvt.d.lu fd rs1 rm 31..25=0x69 24..20=3 6..2=0x14 1..0=3";
    FcvtDS        "fcvt.d.s fd fs1 rm 31..25=0x21 24..20=0 6..2=0x14 1..0=3";
    FroundD       "fround.d fd fs1 rm 31..25=0x21 24..20=4 6..2=0x14 1..0=3";
    FroundnxD     "froundnx.d fd fs1 rm 31..25=0x21 24..20=5 6..2=0x14 1..0=3";
    FclassD       "fclass.d rd fs1 31..25=0x71 24..20=0 14..12=1 6..2=0x14 1..0=3";
    FmvXD         "fmv.x.d rd fs1 31..25=0x71 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FmvDX         "fmv.d.x fd rs1 31..25=0x79 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FliD          "fli.d fd constant 31..25=0x79 24..20=1 14..12=0 6..2=0x14 1..0=3";
    // Zfh (Unpriv. 23) with Zfa (Unpriv. 24).
    Flh           "flh fd imm12(rs1) 14..12=1 6..2=0x01 1..0=3";
    Fsh           "fsh fs2 simm12(rs1) 14..12=1 6..2=0x09 1..0=3";
    FmaddH        "fmadd.h fd fs1 fs2 fs3 rm 26..25=2 6..2=0x10 1..0=3";
    FmsubH        "fmsub.h fd fs1 fs2 fs3 rm 26..25=2 6..2=0x11 1..0=3";
    FnmsubH       "fnmsub.h fd fs1 fs2 fs3 rm 26..25=2 6..2=0x12 1..0=3";
    FnmaddH       "fnmadd.h fd fs1 fs2 fs3 rm 26..25=2 6..2=0x13 1..0=3";
    FaddH         "fadd.h fd fs1 fs2 rm 31..25=0x02 6..2=0x14 1..0=3";
    FsubH         "fsub.h fd fs1 fs2 rm 31..25=0x06 6..2=0x14 1..0=3";
    FmulH         "fmul.h fd fs1 fs2 rm 31..25=0x0a 6..2=0x14 1..0=3";
    FdivH         "fdiv.h fd fs1 fs2 rm 31..25=0x0e 6..2=0x14 1..0=3";
    FsqrtH        "fsqrt.h fd fs1 rm 31..25=0x2e 24..20=0 6..2=0x14 1..0=3";
    FsgnjH        "fsgnj.h fd fs1 fs2 31..25=0x12 14..12=0 6..2=0x14 1..0=3";
    FsgnjnH       "fsgnjn.h fd fs1 fs2 31..25=0x12 14..12=1 6..2=0x14 1..0=3";
    FsgnjxH       "fsgnjx.h fd fs1 fs2 31..25=0x12 14..12=2 6..2=0x14 1..0=3";
    FminH         "fmin.h fd fs1 fs2 31..25=0x16 14..12=0 6..2=0x14 1..0=3";
    FmaxH         "fmax.h fd fs1 fs2 31..25=0x16 14..12=1 6..2=0x14 1..0=3";
    FminmH        "fminm.h fd fs1 fs2 31..25=0x16 14..12=2 6..2=0x14 1..0=3";
    FmaxmH        "fmaxm.h fd fs1 fs2 31..25=0x16 14..12=3 6..2=0x14 1..0=3";
    FleH          "fle.h rd fs1 fs2 31..25=0x52 14..12=0 6..2=0x14 1..0=3";
    FltH          "flt.h rd fs1 fs2 31..25=0x52 14..12=1 6..2=0x14 1..0=3";
    FeqH          "feq.h rd fs1 fs2 31..25=0x52 14..12=2 6..2=0x14 1..0=3";
    FleqH         "fleq.h rd fs1 fs2 31..25=0x52 14..12=4 6..2=0x14 1..0=3";
    FltqH         "fltq.h rd fs1 fs2 31..25=0x52 14..12=5 6..2=0x14 1..0=3";
    FcvtWH        "fcvt.w.h rd fs1 rm 31..25=0x62 24..20=0 6..2=0x14 1..0=3";
    FcvtWuH       "fcvt.wu.h rd fs1 rm 31..25=0x62 24..20=1 6..2=0x14 1..0=3";
    FcvtLH        "fcvt.l.h rd fs1 rm 31..25=0x62 24..20=2 6..2=0x14 1..0=3";
    FcvtLuH       "fcvt.lu.h rd fs1 rm 31..25=0x62 24..20=3 6..2=0x14 1..0=3";
    FcvtHW        "fcvt.h.w fd rs1 rm 31..25=0x6a 24..20=0 6..2=0x14 1..0=3";
    FcvtHWu       "fcvt.h.wu fd rs1 rm 31..25=0x6a 24..20=1 6..2=0x14 1..0=3";
    FcvtHL        "fcvt.h.l fd rs1 rm 31..25=0x6a 24..20=2 6..2=0x14 1..0=3";
    FcvtHLu       "fcvt.h.lu fd rs1 rm 31..25=0x6a 24..20=3 6..2=0x14 1..0=3";
    FcvtHS        "fcvt.h.s fd fs1 rm 31..25=0x22 24..20=0 6..2=0x14 1..0=3";
    FcvtHD        "fcvt.h.d fd fs1 rm 31..25=0x22 24..20=1 6..2=0x14 1..0=3";
    FcvtSH        "fcvt.s.h fd fs1 rm 31..25=0x20 24..20=2 6..2=0x14 1..0=3";
    FcvtDH        "fcvt.d.h fd fs1 rm 31..25=0x21 24..20=2 6..2=0x14 1..0=3";
    FroundH       "fround.h fd fs1 rm 31..25=0x22 24..20=4 6..2=0x14 1..0=3";
    FroundnxH     "froundnx.h fd fs1 rm 31..25=0x22 24..20=5 6..2=0x14 1..0=3";
    FclassH       "fclass.h rd fs1 31..25=0x72 24..20=0 14..12=1 6..2=0x14 1..0=3";
    FmvXH         "fmv.x.h rd fs1 31..25=0x72 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FmvHX         "fmv.h.x fd rs1 31..25=0x7a 24..20=0 14..12=0 6..2=0x14 1..0=3";
    FliH          "fli.h fd constant 31..25=0x7a 24..20=1 14..12=0 6..2=0x14 1..0=3";
}
