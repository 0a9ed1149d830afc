//! The layout of a frame: headers decoded and encoded, payloads unmasked.
//!
//! ```text
//! byte 0   FIN, three reserved bits, four bits of opcode
//! byte 1   MASK, seven bits of length: 0..=125, or 126: two bytes follow, or 127: eight bytes follow
//! then     the longer length, big-endian; four bytes of mask if MASK is set; the payload
//! ```

use super::error::WsError;

/// The longest header a client sends: two bytes, eight of length, four of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u8 = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
pub(super) const MASK: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The frames that are not data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Close,
    Ping,
    Pong,
}

/// What the first two bytes of a header say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// `None` for data.
    pub(super) control: Option<Control>,
    /// Whether the message is complete with this frame.
    pub(super) fin: bool,
    /// Bytes of the whole header, these two included.
    pub(super) header_len: usize,
}

/// Checks the first two bytes of a client's frame; `inside` says whether a fragmented message is unfinished.
#[inline]
pub(super) fn start(first: u8, second: u8, inside: bool) -> Result<Start, WsError> {
    if first & RESERVED != 0 {
        return Err(WsError::ReservedBits);
    }
    let control = match first & OPCODE {
        BINARY if inside => return Err(WsError::MessageInsideMessage),
        BINARY => None,
        CONTINUATION if !inside => return Err(WsError::ContinuationWithoutStart),
        CONTINUATION => None,
        // [MQTT-6.0.0-1]: any other kind of data frame ends the connection.
        TEXT => return Err(WsError::Text),
        CLOSE => Some(Control::Close),
        PING => Some(Control::Ping),
        PONG => Some(Control::Pong),
        _ => return Err(WsError::UnknownOpcode),
    };
    if second & MASK == 0 {
        return Err(WsError::Unmasked);
    }
    let (fin, len) = (first & FIN != 0, second & !MASK);
    if control.is_some() {
        check_control(fin, len)?;
    }
    let header_len = match len {
        0..=125 => 6,
        126 => 8,
        _ => 14,
    };
    Ok(Start { control, fin, header_len })
}

fn check_control(fin: bool, len: u8) -> Result<(), WsError> {
    if !fin {
        Err(WsError::ControlFragmented)
    } else if len > CONTROL_BYTES_MAX {
        Err(WsError::ControlTooLong)
    } else {
        Ok(())
    }
}

/// Reads payload length and mask from a complete header of 6, 8 or 14 bytes whose start is checked.
#[inline]
pub(super) fn rest(header: &[u8]) -> Result<(u64, [u8; 4]), WsError> {
    match *header {
        [_, len, a, b, c, d] => Ok((u64::from(len & !MASK), [a, b, c, d])),
        [_, _, high, low, a, b, c, d] => match u16::from_be_bytes([high, low]) {
            0..=125 => Err(WsError::LengthNotMinimal),
            len => Ok((u64::from(len), [a, b, c, d])),
        },
        [_, _, a, b, c, d, e, f, g, h, ref mask @ ..] => {
            let len = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let mask = *mask.first_chunk().ok_or(WsError::LengthTooLarge)?;
            match len {
                0..=0xFFFF => Err(WsError::LengthNotMinimal),
                0x1_0000..=0x7FFF_FFFF_FFFF_FFFF => Ok((len, mask)),
                _ => Err(WsError::LengthTooLarge),
            }
        }
        _ => Err(WsError::LengthTooLarge),
    }
}

/// Removes (or puts on) a mask; `mask[0]` belongs to the first byte of `payload`.
///
/// Arrays of 16 bytes because the compiler turns them into one vector instruction each.
#[inline]
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide: [u8; 16] = std::array::from_fn(|index| mask[index % 4]);
    let (blocks, tail) = payload.as_chunks_mut::<16>();
    for block in blocks {
        xor(block, &wide);
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for word in words {
        xor(word, &mask);
    }
    for (byte, key) in tail.iter_mut().zip(&mask) {
        *byte ^= key;
    }
}

#[inline]
fn xor<const N: usize>(bytes: &mut [u8; N], keys: &[u8; N]) {
    for (byte, key) in bytes.iter_mut().zip(keys) {
        *byte ^= key;
    }
}

/// Checks the payload of a CLOSE: nothing, or a code and a reason (RFC 6455, 5.5.1 and 7.4).
pub(super) fn check_close(payload: &[u8]) -> Result<(), WsError> {
    match *payload {
        [] => Ok(()),
        [high, low, ref reason @ ..] => {
            match u16::from_be_bytes([high, low]) {
                // 1004 is reserved; 1005, 1006 and 1015 are for the ears of programs, never sent.
                1000..=1003 | 1007..=1014 | 3000..=4999 => {}
                _ => return Err(WsError::CloseCode),
            }
            std::str::from_utf8(reason).map_err(|_| WsError::CloseReason).map(|_| ())
        }
        _ => Err(WsError::CloseCode),
    }
}

/// Appends a server's control frame; the payload comes from a client's control frame or is a close code, so it is
/// short.
pub(super) fn put_control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    let opcode = match control {
        Control::Close => CLOSE,
        Control::Ping => PING,
        Control::Pong => PONG,
    };
    let len = u8::try_from(payload.len()).unwrap_or(CONTROL_BYTES_MAX).min(CONTROL_BYTES_MAX);
    out.extend_from_slice(&[FIN | opcode, len]);
    out.extend_from_slice(&payload[..usize::from(len)]);
}

/// Writes the header of one unfragmented binary frame from server to client, with `payload_len` bytes to follow
/// ([MQTT-6.0.0-1]); returns how many bytes of `out` it takes: 2, 4 or 10.
pub fn encode_header(payload_len: usize, out: &mut [u8; 10]) -> usize {
    out[0] = FIN | BINARY;
    if let Ok(len @ 0..=125) = u8::try_from(payload_len) {
        out[1] = len;
        2
    } else if let Ok(len) = u16::try_from(payload_len) {
        out[1] = 126;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        out[1] = 127;
        out[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    }
}

/// Appends a CLOSE frame from server to client with a status code (RFC 6455, 7.4.1) and no reason.
pub fn close_frame(code: u16, out: &mut Vec<u8>) {
    put_control(Control::Close, &code.to_be_bytes(), out);
}
