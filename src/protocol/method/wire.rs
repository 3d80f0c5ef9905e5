//! How a method's arguments lie on the wire: one line of [`wire!`] under every method's struct.
//!
//! ```text
//! wire!(Declare<'a> { skip_u16; name queue; bits passive durable; table arguments; });
//!                     └ reserved        └ checked UTF-8     └ one octet, the first bit lowest
//! ```
//!
//! Integers, strings and tables are named as in [`Reader`]. `skip_…` is a reserved argument: read past, written as
//! zero or empty. At most eight `bits` follow each other in AMQP's methods, so they always share one octet.

use crate::protocol::decoder::{DecodeError, Reader};

/// The arguments of one method, without its class and method ids.
pub trait Arguments<'a>: Sized {
    /// Reads the arguments and leaves what follows them.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Appends the arguments.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! wire {
    ($method:ident $(<$life:lifetime>)? { $($kind:ident $($field:ident)*;)* }) => {
        impl<'a> $crate::protocol::method::Arguments<'a> for $method $(<$life>)? {
            #[inline]
            #[allow(unused_variables, reason = "a method without arguments")]
            fn decode(
                reader: &mut $crate::protocol::decoder::Reader<'a>,
            ) -> Result<Self, $crate::protocol::decoder::DecodeError> {
                $($crate::protocol::method::wire::read_argument!(reader $kind $($field)*);)*
                Ok(Self { $($($field,)*)* })
            }

            #[inline]
            #[allow(unused_variables, reason = "a method without arguments")]
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::protocol::method::wire::write_argument!(self out $kind $($field)*);)*
            }
        }
    };
}

macro_rules! read_argument {
    ($reader:ident skip_bits) => { $reader.u8()? };
    ($reader:ident skip_u16) => { $reader.u16()? };
    ($reader:ident skip_short_string) => { $reader.name()? };
    ($reader:ident skip_long_string) => { $reader.long_string()? };
    ($reader:ident bits $($field:ident)+) => {
        let mut bits = $crate::protocol::method::wire::Bits::new($reader.u8()?);
        $(let $field = bits.take();)+
    };
    ($reader:ident $kind:ident $field:ident) => { let $field = $reader.$kind()?; };
}

macro_rules! write_argument {
    ($self:ident $out:ident skip_bits) => { $crate::protocol::encoder::put_u8($out, 0) };
    ($self:ident $out:ident skip_u16) => { $crate::protocol::encoder::put_u16($out, 0) };
    ($self:ident $out:ident skip_short_string) => { $crate::protocol::encoder::put_short_string($out, b"") };
    ($self:ident $out:ident skip_long_string) => { $crate::protocol::encoder::put_long_string($out, b"") };
    ($self:ident $out:ident bits $($field:ident)+) => {
        $crate::protocol::encoder::put_u8($out, $crate::protocol::method::wire::pack_bits(&[$($self.$field),+]))
    };
    ($self:ident $out:ident u8 $field:ident) => { $crate::protocol::encoder::put_u8($out, $self.$field) };
    ($self:ident $out:ident u16 $field:ident) => { $crate::protocol::encoder::put_u16($out, $self.$field) };
    ($self:ident $out:ident u32 $field:ident) => { $crate::protocol::encoder::put_u32($out, $self.$field) };
    ($self:ident $out:ident u64 $field:ident) => { $crate::protocol::encoder::put_u64($out, $self.$field) };
    ($self:ident $out:ident name $field:ident) => { $crate::protocol::encoder::put_short_string($out, $self.$field) };
    ($self:ident $out:ident short_string $field:ident) => {
        $crate::protocol::encoder::put_short_string($out, $self.$field)
    };
    ($self:ident $out:ident long_string $field:ident) => {
        $crate::protocol::encoder::put_long_string($out, $self.$field)
    };
    ($self:ident $out:ident table $field:ident) => { $crate::protocol::encoder::put_table($out, &$self.$field) };
}

pub(super) use {read_argument, wire, write_argument};

/// An octet of bits, taken from the lowest on.
pub struct Bits(u8);

impl Bits {
    #[inline]
    pub fn new(octet: u8) -> Self {
        Self(octet)
    }

    #[inline]
    pub fn take(&mut self) -> bool {
        let bit = self.0 & 1 != 0;
        self.0 >>= 1;
        bit
    }
}

/// Packs at most eight bits into one octet, the first one lowest.
#[inline]
pub fn pack_bits(bits: &[bool]) -> u8 {
    bits.iter().rev().fold(0, |octet, &bit| octet << 1 | u8::from(bit))
}
