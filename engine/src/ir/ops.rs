//! The operations of the IR. Their meanings stand once, in [`super::eval`].

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every operation.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Name in the IR's text form.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Operations of two operands and a width.
    Binary {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Low half of the product.
        Mul = "mul",
        /// High half of the unsigned product.
        MulHighU = "mulhu",
        /// High half of the signed product.
        MulHighS = "mulhs",
        /// High half of the product of a signed and an unsigned number.
        MulHighSu = "mulhsu",
        /// Unsigned quotient; all ones if the divisor is zero.
        DivU = "divu",
        /// Signed quotient; all ones if the divisor is zero, the dividend if it overflows.
        DivS = "divs",
        /// Unsigned remainder; the dividend if the divisor is zero.
        RemU = "remu",
        /// Signed remainder; the dividend if the divisor is zero, zero if the quotient overflows.
        RemS = "rems",
        /// Bitwise and.
        And = "and",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// Left shift, count modulo width.
        Shl = "shl",
        /// Logical right shift, count modulo width.
        ShrU = "shru",
        /// Arithmetic right shift, count modulo width.
        ShrS = "shrs",
        /// Left rotation, count modulo width.
        Rotl = "rotl",
        /// Right rotation, count modulo width.
        Rotr = "rotr",
        /// Low half of the carry-less product.
        ClMul = "clmul",
        /// High half of the carry-less product.
        ClMulHigh = "clmulh",
    }
}

named! {
    /// Operations of one operand and a width.
    Unary {
        /// Zero extension of the low bits.
        Zext = "zext",
        /// Sign extension of the low bits to 64 bits.
        Sext = "sext",
        /// Leading zeros; the width if the operand is zero.
        Clz = "clz",
        /// Trailing zeros; the width if the operand is zero.
        Ctz = "ctz",
        /// Number of ones.
        Popcnt = "popcnt",
        /// Bytes in reverse order.
        Bswap = "bswap",
    }
}

named! {
    /// Conditions between two operands.
    Cond {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less, signed.
        LtS = "lts",
        /// Less, unsigned.
        LtU = "ltu",
        /// Greater or equal, signed.
        GeS = "ges",
        /// Greater or equal, unsigned.
        GeU = "geu",
    }
}

impl Cond {
    /// The condition that holds when this one does not.
    pub fn negated(self) -> Self {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::LtS => Cond::GeS,
            Cond::GeS => Cond::LtS,
            Cond::LtU => Cond::GeU,
            Cond::GeU => Cond::LtU,
        }
    }
}

named! {
    /// How an atomic memory operation combines memory with its operand.
    Amo {
        /// The operand replaces memory.
        Swap = "swap",
        /// Sum.
        Add = "add",
        /// Bitwise and.
        And = "and",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// Signed minimum.
        MinS = "mins",
        /// Signed maximum.
        MaxS = "maxs",
        /// Unsigned minimum.
        MinU = "minu",
        /// Unsigned maximum.
        MaxU = "maxu",
    }
}
