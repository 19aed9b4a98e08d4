//! The operations on vectors: 128 bits, which are two slots. Named as x86 names what does them, for want of other names;
//! those on numbers that are alone in their pairs of slots are named as RISC-V names them. [`super::vector`] and its like
//! say what they mean.

use crate::emit::Slot;
use crate::ir::ops::named;

named! {
    /// Operations whose result is a vector. They have two operands `a` and `b` and an immediate byte, of which each looks at
    /// what it needs; a few have the destination's old content `c` as a third one.
    #[allow(missing_docs, reason = "the names are those of the manual")]
    VectorOp {
        /// `b`.
        Copy = "copy",
        /// The low half of `b`, and zeros.
        Movq = "movq",
        /// The low 32 bits of `b`, the others of `a`.
        Movss = "movss",
        /// The low half of `b`, the high half of `a`.
        Movsd = "movsd",
        /// The high half of `b`, the high half of `a`.
        Movhlps = "movhlps",
        /// The low half of `b`, twice.
        Movddup = "movddup",
        Movshdup = "movshdup",
        Movsldup = "movsldup",
        /// Bitwise and.
        And = "and",
        /// The bits of `b` that `a` has not.
        Andn = "andn",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        Paddb = "paddb",
        Paddw = "paddw",
        Paddd = "paddd",
        Paddq = "paddq",
        Psubb = "psubb",
        Psubw = "psubw",
        Psubd = "psubd",
        Psubq = "psubq",
        Pcmpeqb = "pcmpeqb",
        Pcmpeqw = "pcmpeqw",
        Pcmpeqd = "pcmpeqd",
        Pcmpeqq = "pcmpeqq",
        Paddsb = "paddsb",
        Paddsw = "paddsw",
        Paddusb = "paddusb",
        Paddusw = "paddusw",
        Psubsb = "psubsb",
        Psubsw = "psubsw",
        Psubusb = "psubusb",
        Psubusw = "psubusw",
        Pmullw = "pmullw",
        Pmulhw = "pmulhw",
        Pmulhuw = "pmulhuw",
        Pmulhrsw = "pmulhrsw",
        Pmaddwd = "pmaddwd",
        Pmaddubsw = "pmaddubsw",
        Pmuludq = "pmuludq",
        Pmuldq = "pmuldq",
        Pmulld = "pmulld",
        Pcmpgtb = "pcmpgtb",
        Pcmpgtw = "pcmpgtw",
        Pcmpgtd = "pcmpgtd",
        Pcmpgtq = "pcmpgtq",
        Pminsb = "pminsb",
        Pminsw = "pminsw",
        Pminsd = "pminsd",
        Pminub = "pminub",
        Pminuw = "pminuw",
        Pminud = "pminud",
        Pmaxsb = "pmaxsb",
        Pmaxsw = "pmaxsw",
        Pmaxsd = "pmaxsd",
        Pmaxub = "pmaxub",
        Pmaxuw = "pmaxuw",
        Pmaxud = "pmaxud",
        Pavgb = "pavgb",
        Pavgw = "pavgw",
        Psadbw = "psadbw",
        Pabsb = "pabsb",
        Pabsw = "pabsw",
        Pabsd = "pabsd",
        Psignb = "psignb",
        Psignw = "psignw",
        Psignd = "psignd",
        Packsswb = "packsswb",
        Packuswb = "packuswb",
        Packssdw = "packssdw",
        Packusdw = "packusdw",
        Phaddw = "phaddw",
        Phaddd = "phaddd",
        Phaddsw = "phaddsw",
        Phsubw = "phsubw",
        Phsubd = "phsubd",
        Phsubsw = "phsubsw",
        /// The count of this and the following seven is the low half of `b`.
        Psllw = "psllw",
        Pslld = "pslld",
        Psllq = "psllq",
        Psrlw = "psrlw",
        Psrld = "psrld",
        Psrlq = "psrlq",
        Psraw = "psraw",
        Psrad = "psrad",
        /// The count of this and the following nine is the immediate.
        PsllwBy = "psllw_by",
        PslldBy = "pslld_by",
        PsllqBy = "psllq_by",
        PsrlwBy = "psrlw_by",
        PsrldBy = "psrld_by",
        PsrlqBy = "psrlq_by",
        PsrawBy = "psraw_by",
        PsradBy = "psrad_by",
        Pslldq = "pslldq",
        Psrldq = "psrldq",
        Pshufb = "pshufb",
        Pshufd = "pshufd",
        Pshuflw = "pshuflw",
        Pshufhw = "pshufhw",
        Shufps = "shufps",
        Shufpd = "shufpd",
        Palignr = "palignr",
        Punpcklbw = "punpcklbw",
        Punpcklwd = "punpcklwd",
        Punpckldq = "punpckldq",
        Punpcklqdq = "punpcklqdq",
        Punpckhbw = "punpckhbw",
        Punpckhwd = "punpckhwd",
        Punpckhdq = "punpckhdq",
        Punpckhqdq = "punpckhqdq",
        Blendps = "blendps",
        Blendpd = "blendpd",
        Pblendw = "pblendw",
        /// Lanes of `a` where those of `b` are negative, of `c` elsewhere; likewise the following two.
        Pblendvb = "pblendvb",
        Blendvps = "blendvps",
        Blendvpd = "blendvpd",
        /// As from a register.
        Insertps = "insertps",
        Pmovsxbw = "pmovsxbw",
        Pmovsxbd = "pmovsxbd",
        Pmovsxbq = "pmovsxbq",
        Pmovsxwd = "pmovsxwd",
        Pmovsxwq = "pmovsxwq",
        Pmovsxdq = "pmovsxdq",
        Pmovzxbw = "pmovzxbw",
        Pmovzxbd = "pmovzxbd",
        Pmovzxbq = "pmovzxbq",
        Pmovzxwd = "pmovzxwd",
        Pmovzxwq = "pmovzxwq",
        Pmovzxdq = "pmovzxdq",
        Phminposuw = "phminposuw",
        Mpsadbw = "mpsadbw",
        Pclmulqdq = "pclmulqdq",
        Aesenc = "aesenc",
        Aesenclast = "aesenclast",
        Aesdec = "aesdec",
        Aesdeclast = "aesdeclast",
        Aesimc = "aesimc",
        Aeskeygenassist = "aeskeygenassist",
        Sha1rnds4 = "sha1rnds4",
        Sha1nexte = "sha1nexte",
        Sha1msg1 = "sha1msg1",
        Sha1msg2 = "sha1msg2",
        /// Of the state in `c` and `a`; the words of the message are the low half of `b`.
        Sha256rnds2 = "sha256rnds2",
        Sha256msg1 = "sha256msg1",
        Sha256msg2 = "sha256msg2",
        /// The single in the low 32 bits of `b`, in its box; see [`super::boxed`], also for the following six.
        Box32 = "box",
        /// The single in `b`; the following ones with another sign.
        FmoveS = "fmove_s",
        FnegS = "fneg_s",
        FnegD = "fneg_d",
        FabsS = "fabs_s",
        FabsD = "fabs_d",
        // What follows computes with floating-point numbers.
        Addps = "addps",
        Addpd = "addpd",
        Addss = "addss",
        Addsd = "addsd",
        Subps = "subps",
        Subpd = "subpd",
        Subss = "subss",
        Subsd = "subsd",
        Mulps = "mulps",
        Mulpd = "mulpd",
        Mulss = "mulss",
        Mulsd = "mulsd",
        Divps = "divps",
        Divpd = "divpd",
        Divss = "divss",
        Divsd = "divsd",
        Sqrtps = "sqrtps",
        Sqrtpd = "sqrtpd",
        Sqrtss = "sqrtss",
        Sqrtsd = "sqrtsd",
        Minps = "minps",
        Minpd = "minpd",
        Minss = "minss",
        Minsd = "minsd",
        Maxps = "maxps",
        Maxpd = "maxpd",
        Maxss = "maxss",
        Maxsd = "maxsd",
        Addsubps = "addsubps",
        Addsubpd = "addsubpd",
        Haddps = "haddps",
        Haddpd = "haddpd",
        Hsubps = "hsubps",
        Hsubpd = "hsubpd",
        Roundps = "roundps",
        Roundpd = "roundpd",
        Roundss = "roundss",
        Roundsd = "roundsd",
        Cmpps = "cmpps",
        Cmppd = "cmppd",
        Cmpss = "cmpss",
        Cmpsd = "cmpsd",
        Cvtdq2ps = "cvtdq2ps",
        Cvtdq2pd = "cvtdq2pd",
        Cvtps2dq = "cvtps2dq",
        Cvttps2dq = "cvttps2dq",
        Cvtpd2dq = "cvtpd2dq",
        Cvttpd2dq = "cvttpd2dq",
        Cvtps2pd = "cvtps2pd",
        Cvtpd2ps = "cvtpd2ps",
        Cvtss2sd = "cvtss2sd",
        Cvtsd2ss = "cvtsd2ss",
        // What follows is of single numbers that are alone in their pairs of slots; see `super::boxed`.
        FaddS = "fadd_s",
        FaddD = "fadd_d",
        FsubS = "fsub_s",
        FsubD = "fsub_d",
        FmulS = "fmul_s",
        FmulD = "fmul_d",
        FdivS = "fdiv_s",
        FdivD = "fdiv_d",
        /// Of `b`.
        FsqrtS = "fsqrt_s",
        FsqrtD = "fsqrt_d",
        /// `a` times `b` plus the number in the pair of slots that the immediate is, rounded once.
        FmaddS = "fmadd_s",
        FmaddD = "fmadd_d",
        /// Minus the third number.
        FmsubS = "fmsub_s",
        FmsubD = "fmsub_d",
        /// Of minus the product, plus the third number.
        FnmsubS = "fnmsub_s",
        FnmsubD = "fnmsub_d",
        /// Of minus the product, minus the third number.
        FnmaddS = "fnmadd_s",
        FnmaddD = "fnmadd_d",
        /// The lesser number: one that is a number rather than a NaN; of zeros the negative one.
        FminS = "fmin_s",
        FminD = "fmin_d",
        FmaxS = "fmax_s",
        FmaxD = "fmax_d",
        /// The double `b` as a single.
        FcvtSD = "fcvt_s_d",
        /// The single `b` as a double.
        FcvtDS = "fcvt_d_s",
    }
}

named! {
    /// Operations that put a number into a vector.
    #[allow(missing_docs, reason = "the names are those of the manual")]
    VectorInsert {
        /// 32 bits, and zeros.
        Movd = "movd",
        /// 64 bits, and zeros.
        Movq = "movq",
        Pinsrb = "pinsrb",
        Pinsrw = "pinsrw",
        Pinsrd = "pinsrd",
        Pinsrq = "pinsrq",
        // What follows computes with floating-point numbers.
        /// From 32 bits.
        Cvtsi2ss = "cvtsi2ss",
        /// From 64 bits.
        Cvtsi2ssWide = "cvtsi2ss_64",
        /// From 32 bits.
        Cvtsi2sd = "cvtsi2sd",
        /// From 64 bits.
        Cvtsi2sdWide = "cvtsi2sd_64",
        // What follows makes a single number that is alone in its pair of slots; see `super::boxed`.
        /// From a signed number.
        FcvtSL = "fcvt_s_l",
        FcvtDL = "fcvt_d_l",
        /// From an unsigned number.
        FcvtSLu = "fcvt_s_lu",
        FcvtDLu = "fcvt_d_lu",
    }
}

named! {
    /// Operations on vectors whose result is a number.
    #[allow(missing_docs, reason = "the names are those of the manual")]
    VectorExtract {
        /// The signs of the bytes of `b`.
        Pmovmskb = "pmovmskb",
        Movmskps = "movmskps",
        Movmskpd = "movmskpd",
        /// [`super::ZERO`] if no bit is in both operands, [`super::CARRY`] if every bit of `b` is in `a`.
        Ptest = "ptest",
        // What follows computes with floating-point numbers.
        /// [`super::ZERO`], [`super::PARITY`] and [`super::CARRY`] as the instruction gives them; likewise the following three.
        Comiss = "comiss",
        Comisd = "comisd",
        Ucomiss = "ucomiss",
        Ucomisd = "ucomisd",
        /// To 32 bits, from `b`.
        Cvtss2si = "cvtss2si",
        Cvttss2si = "cvttss2si",
        Cvtsd2si = "cvtsd2si",
        Cvttsd2si = "cvttsd2si",
        /// To 64 bits, from `b`.
        Cvtss2siWide = "cvtss2si_64",
        Cvttss2siWide = "cvttss2si_64",
        Cvtsd2siWide = "cvtsd2si_64",
        Cvttsd2siWide = "cvttsd2si_64",
        // What follows is of single numbers that are alone in their pairs of slots; see `super::boxed`.
        /// 1 if `a` and `b` are equal; a quiet NaN raises nothing.
        FeqS = "feq_s",
        FeqD = "feq_d",
        /// 1 if `a` is less than `b`; any NaN is invalid.
        FltS = "flt_s",
        FltD = "flt_d",
        FleS = "fle_s",
        FleD = "fle_d",
        /// `b` rounded to a signed number of 32 bits, zero-extended. What is out of range becomes the nearest number, a NaN the
        /// largest; both are invalid. Likewise the following ones.
        FcvtWS = "fcvt_w_s",
        FcvtWD = "fcvt_w_d",
        /// To 64 bits.
        FcvtLS = "fcvt_l_s",
        FcvtLD = "fcvt_l_d",
        /// Truncated, whatever the direction of rounding; likewise the following ones.
        FtruncWS = "ftrunc_w_s",
        FtruncWD = "ftrunc_w_d",
        FtruncLS = "ftrunc_l_s",
        FtruncLD = "ftrunc_l_d",
        /// To an unsigned number of 32 bits.
        FtruncWuS = "ftrunc_wu_s",
        FtruncWuD = "ftrunc_wu_d",
        /// To an unsigned number of 64 bits.
        FtruncLuS = "ftrunc_lu_s",
        FtruncLuD = "ftrunc_lu_d",
    }
}

impl VectorOp {
    /// Whether it depends on the guest's floating-point environment, and may raise flags there: the guest says what it means.
    pub const fn is_float(self) -> bool {
        self as u8 >= VectorOp::Addps as u8
    }

    /// Whether it is of single numbers that are alone in their pairs of slots ([`super::boxed`]).
    pub const fn is_alone(self) -> bool {
        let number = self as u8;
        number >= VectorOp::FaddS as u8 || number >= VectorOp::Box32 as u8 && number <= VectorOp::FabsD as u8
    }

    /// Whether the result is a single in its box ([`super::boxed`]).
    pub const fn gives_single(self) -> bool {
        matches!(
            self,
            VectorOp::Box32
                | VectorOp::FmoveS
                | VectorOp::FnegS
                | VectorOp::FabsS
                | VectorOp::FaddS
                | VectorOp::FsubS
                | VectorOp::FmulS
                | VectorOp::FdivS
                | VectorOp::FsqrtS
                | VectorOp::FmaddS
                | VectorOp::FmsubS
                | VectorOp::FnmsubS
                | VectorOp::FnmaddS
                | VectorOp::FminS
                | VectorOp::FmaxS
                | VectorOp::FcvtSD
        )
    }

    /// Whether the immediate is the number of a third pair of slots, which is an operand.
    pub const fn names_third_pair(self) -> bool {
        self as u8 >= VectorOp::FmaddS as u8 && self as u8 <= VectorOp::FnmaddD as u8
    }

    /// Whether the destination's old content is a third operand.
    pub const fn has_three_operands(self) -> bool {
        matches!(self, VectorOp::Pblendvb | VectorOp::Blendvps | VectorOp::Blendvpd | VectorOp::Sha256rnds2)
    }

    /// The pairs of slots that it reads, of those that it names: `to`, `a` and `b`, and perhaps one in the immediate.
    pub fn operands(self, imm: u8, [to, a, b]: [Slot; 3]) -> Vec<Slot> {
        let third = self.names_third_pair().then_some(Slot(imm));
        let destination = self.has_three_operands().then_some(to);
        [a, b].into_iter().chain(third).chain(destination).collect()
    }
}

impl VectorInsert {
    /// As [`VectorOp::is_float`].
    pub const fn is_float(self) -> bool {
        self as u8 >= VectorInsert::Cvtsi2ss as u8
    }

    /// As [`VectorOp::is_alone`].
    pub const fn is_alone(self) -> bool {
        self as u8 >= VectorInsert::FcvtSL as u8
    }

    /// As [`VectorOp::gives_single`].
    pub const fn gives_single(self) -> bool {
        matches!(self, VectorInsert::FcvtSL | VectorInsert::FcvtSLu)
    }
}

impl VectorExtract {
    /// As [`VectorOp::is_float`].
    pub const fn is_float(self) -> bool {
        self as u8 >= VectorExtract::Comiss as u8
    }

    /// As [`VectorOp::is_alone`].
    pub const fn is_alone(self) -> bool {
        self as u8 >= VectorExtract::FeqS as u8
    }
}
