//! A cursor over the bytes of one packet. Every read names the field, so an error can say where.

use crate::{DecodeError, Field, PacketId, Properties, PropertyPlace, ProtocolVersion, scan};

/// The part of a packet that is not read yet.
#[derive(Copy, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left; for fields that run to the end of the packet.
    #[inline]
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The packet must end here.
    #[inline]
    pub(crate) const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, DecodeError> {
        Ok(self.chunk::<1>(field)?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: Field) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(*self.chunk(field)?))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(*self.chunk(field)?))
    }

    /// A Packet Identifier, never 0: 3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16(Field::PacketId)?).ok_or(DecodeError::PacketIdZero)
    }

    /// Binary Data: a `u16` length, then that many bytes.
    #[inline]
    pub(crate) fn binary(&mut self, field: Field) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// A UTF-8 Encoded String: a `u16` length in bytes, then the bytes.
    #[inline]
    pub(crate) fn string(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        let string = str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8(field))?;
        if scan::has_nul(bytes) {
            return Err(DecodeError::NulInString(field));
        }
        Ok(string)
    }

    /// A UTF-8 Encoded String without `+` and `#`; `wildcard` is the error if it has one. May be empty.
    #[inline]
    pub(crate) fn topic_name(&mut self, field: Field, wildcard: DecodeError) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        let string = str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8(field))?;
        // One scan for both rules; which of the two is broken only matters once one is.
        if scan::has_nul_or_wildcard(bytes) {
            let nul = scan::has_nul(bytes);
            return Err(if nul { DecodeError::NulInString(field) } else { wildcard });
        }
        Ok(string)
    }

    /// A Variable Byte Integer as 5.0 wants it: one to four bytes, none of them needless ([MQTT-1.5.5-1]).
    #[inline]
    pub(crate) fn var_int(&mut self, field: Field) -> Result<u32, DecodeError> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.u8(field)?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || at == 0;
                return if minimal { Ok(value) } else { Err(DecodeError::VarIntNotMinimal(field)) };
            }
        }
        Err(DecodeError::VarIntTooLong(field))
    }

    /// The Property Length and the Properties in 5.0; nothing in 3.x.
    #[inline]
    pub(crate) fn properties(
        &mut self,
        version: ProtocolVersion,
        place: PropertyPlace,
    ) -> Result<Properties<'a>, DecodeError> {
        if !version.is_v5() {
            return Ok(Properties::EMPTY);
        }
        match self.var_int(Field::PropertyLength)? {
            0 => Ok(Properties::EMPTY),
            len => Properties::decode(self.take(len as usize, Field::Properties)?, place),
        }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self, field: Field) -> Result<&'a [u8; N], DecodeError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(DecodeError::EndsInside(field))?;
        self.rest = rest;
        Ok(chunk)
    }

    #[inline]
    fn take(&mut self, len: usize, field: Field) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::EndsInside(field))?;
        self.rest = rest;
        Ok(taken)
    }
}
