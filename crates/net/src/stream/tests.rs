use super::{Link, Pipe, Socket, Transport};
use crate::{HandshakeError, WsError};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A socket in memory that takes a few bytes at a time.
#[derive(Debug, Default)]
struct Trickle {
    incoming: VecDeque<u8>,
    /// The peer ended its direction.
    hung_up: bool,
    /// How much the next writes take; 0 is a full socket. When used up, everything is taken.
    takes: VecDeque<usize>,
    sent: Vec<u8>,
    writes: usize,
    ended: bool,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() && !self.hung_up {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.incoming.read(buffer)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.ended, "nothing is written after the end");
        self.writes += 1;
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
        assert!(!bytes.is_empty(), "a write of nothing says nothing");
        let taken = self.takes.pop_front().unwrap_or(bytes.len()).min(bytes.len());
        self.sent.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Trickle {
    fn end_output(&mut self) {
        self.ended = true;
    }
}

fn open() -> Pipe<Trickle> {
    let mut pipe = Pipe::new(Link::plain(Trickle::default()), Transport::WebSocket);
    assert_eq!(hear(&mut pipe, REQUEST.as_bytes()).unwrap(), b"");
    assert!(pipe.wants_write());
    pipe.flush_control().unwrap();
    assert!(!pipe.wants_write() && pipe.socket.socket.sent.starts_with(b"HTTP/1.1 101 "));
    pipe.socket.socket.sent.clear();
    pipe.socket.socket.writes = 0;
    pipe
}

/// Lets the peer send `bytes` and reads all of it.
fn hear(pipe: &mut Pipe<Trickle>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    pipe.socket.socket.incoming.extend(bytes);
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    while pipe.read(&mut buffer, &mut |payload| heard.extend_from_slice(payload))?.more {}
    Ok(heard)
}

/// A client's frame with a mask of zeros.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125);
    [&[first, 0x80 | payload.len().to_le_bytes()[0], 0, 0, 0, 0], payload].concat()
}

/// Takes a server's output apart into frames; the last may be cut off.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (len, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(), &rest[8..]),
            len => (usize::from(*len), rest),
        };
        frames.push((*first, rest[..len.min(rest.len())].to_vec()));
        bytes = &rest[len.min(rest.len())..];
    }
    assert!(bytes.is_empty(), "half a header: {bytes:?}");
    frames
}

fn kind(result: io::Result<usize>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn rule(error: &io::Error) -> WsError {
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    *error.get_ref().unwrap().downcast_ref().unwrap()
}

#[test]
fn tcp_passes_bytes_through() {
    let mut pipe = Pipe::new(Link::plain(Trickle::default()), Transport::Tcp);
    assert_eq!(hear(&mut pipe, b"in").unwrap(), b"in");
    assert_eq!(pipe.write(&[IoSlice::new(b"o"), IoSlice::new(b""), IoSlice::new(b"ut")]).unwrap(), 3);
    assert_eq!((pipe.socket.socket.sent.as_slice(), pipe.socket.socket.writes), (&b"out"[..], 1));
    pipe.socket.socket.takes.extend([2, 0]);
    assert_eq!(pipe.write(&[IoSlice::new(b"more")]).unwrap(), 2);
    assert_eq!(kind(pipe.write(&[IoSlice::new(b"re")])), ErrorKind::WouldBlock);
    assert!(!pipe.wants_write());
    pipe.close(None);
    assert!(pipe.socket.socket.ended);
}

#[test]
fn more_slices_than_the_system_takes_go_out_in_one_call() {
    // TCP stops seven bytes into its second write; so does WebSocket, two of them header, after 62 slices and theirs.
    for (mut pipe, stop) in
        [(Pipe::new(Link::plain(Trickle::default()), Transport::Tcp), 2055), (open(), 129)]
    {
        let slices = vec![IoSlice::new(b"ab"); 2500];
        assert_eq!(pipe.write(&slices).unwrap(), 5000);
        pipe.socket.socket.takes.extend([2048, 7, 0]);
        assert_eq!(pipe.write(&slices).unwrap(), stop);
    }
}

#[test]
fn outcomes_tell_what_to_do_next() {
    let mut pipe = Pipe::new(Link::plain(Trickle::default()), Transport::Tcp);
    let mut buffer = [0; 4];
    let mut read = |pipe: &mut Pipe<Trickle>| {
        let outcome = pipe.read(&mut buffer, &mut |_| {}).unwrap();
        (outcome.bytes, outcome.more, outcome.eof)
    };
    assert_eq!(read(&mut pipe), (0, false, false));
    pipe.socket.socket.incoming.extend(b"12345");
    assert_eq!(read(&mut pipe), (4, true, false));
    assert_eq!(read(&mut pipe), (1, false, false));
    pipe.socket.socket.hung_up = true;
    assert_eq!(read(&mut pipe), (0, false, true));
}

#[test]
fn one_frame_for_all_slices() {
    let mut pipe = open();
    assert_eq!(pipe.write(&[IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"tail")]).unwrap(), 8);
    assert_eq!(pipe.socket.socket.sent, b"\x82\x08headtail");
    assert_eq!(pipe.socket.socket.writes, 1);
    assert_eq!(pipe.write(&[]).unwrap(), 0);
    assert_eq!(pipe.write(&[IoSlice::new(b"")]).unwrap(), 0);
    assert_eq!(pipe.socket.socket.writes, 1);
}

#[test]
fn a_long_message_survives_any_stop() {
    let message = (0..70_000_u32).map(|n| n.to_be_bytes()[3]).collect::<Vec<_>>();
    for stop in [1, 2, 5, 9, 10, 11, 4096, 70_009] {
        let mut pipe = open();
        pipe.socket.socket.takes.extend([stop, 0]);
        let first = pipe.write(&[IoSlice::new(&message[..100]), IoSlice::new(&message[100..])]);
        let taken = if stop <= 10 {
            assert_eq!(kind(first), ErrorKind::WouldBlock, "{stop}: only the header went out");
            0
        } else {
            first.unwrap()
        };
        assert_eq!(taken, stop.saturating_sub(10));
        pipe.socket.socket.takes.clear();
        assert_eq!(pipe.write(&[IoSlice::new(&message[taken..])]).unwrap(), 70_000 - taken);
        assert_eq!(frames(&pipe.socket.socket.sent), [(0x82, message.clone())], "{stop}");
    }
}

#[test]
fn a_frame_is_filled_up_by_what_comes_next() {
    let mut pipe = open();
    pipe.socket.socket.takes.extend([2 + 3, 0]);
    assert_eq!(pipe.write(&[IoSlice::new(b"0123456789")]).unwrap(), 3);
    pipe.socket.socket.takes.clear();
    // Fewer bytes than promised, then more.
    assert_eq!(pipe.write(&[IoSlice::new(b"34")]).unwrap(), 2);
    assert_eq!(pipe.write(&[IoSlice::new(b"567"), IoSlice::new(b"89ab"), IoSlice::new(b"cd")]).unwrap(), 9);
    assert_eq!(frames(&pipe.socket.socket.sent), [(0x82, b"0123456789".to_vec()), (0x82, b"abcd".to_vec())]);
}

#[test]
fn a_pong_goes_before_a_frame_and_never_inside() {
    let mut pipe = open();
    pipe.socket.socket.takes.extend([2 + 3, 0]);
    assert_eq!(pipe.write(&[IoSlice::new(b"012345")]).unwrap(), 3);
    pipe.socket.socket.takes.clear();
    hear(&mut pipe, &client(0x89, b"?")).unwrap();
    assert!(!pipe.wants_write(), "it has to wait for the frame");
    pipe.flush_control().unwrap();
    assert_eq!(pipe.write(&[IoSlice::new(b"345")]).unwrap(), 3);
    assert!(pipe.wants_write());
    assert_eq!(pipe.write(&[IoSlice::new(b"next")]).unwrap(), 4);
    assert!(!pipe.wants_write());
    let expected = [(0x82, b"012345".to_vec()), (0x8A, b"?".to_vec()), (0x82, b"next".to_vec())];
    assert_eq!(frames(&pipe.socket.socket.sent), expected);
}

#[test]
fn a_frame_not_begun_promises_nothing() {
    let mut pipe = open();
    hear(&mut pipe, &client(0x89, b"one")).unwrap();
    pipe.socket.socket.takes.extend([4]);
    assert_eq!(kind(pipe.write(&[IoSlice::new(b"never sent")])), ErrorKind::WouldBlock);
    hear(&mut pipe, &client(0x89, b"two")).unwrap();
    assert!(pipe.wants_write());
    pipe.flush_control().unwrap();
    assert_eq!(frames(&pipe.socket.socket.sent), [(0x8A, b"one".to_vec()), (0x8A, b"two".to_vec())]);
}

#[test]
fn nothing_can_be_written_before_the_handshake() {
    let mut pipe = Pipe::new(Link::plain(Trickle::default()), Transport::WebSocket);
    assert_eq!(kind(pipe.write(&[IoSlice::new(b"early")])), ErrorKind::WouldBlock);
    hear(&mut pipe, REQUEST.as_bytes()).unwrap();
    assert_eq!(pipe.write(&[IoSlice::new(b"late")]).unwrap(), 4);
    assert!(
        pipe.socket.socket.sent.starts_with(b"HTTP/1.1 101 ")
            && pipe.socket.socket.sent.ends_with(b"\r\n\r\n\x82\x04late")
    );
}

#[test]
fn a_refused_handshake_is_answered_and_ended() {
    let mut pipe = Pipe::new(Link::plain(Trickle::default()), Transport::WebSocket);
    let error = hear(&mut pipe, b"POST / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!(rule(&error), WsError::Handshake(HandshakeError::Method));
    pipe.socket.socket.takes.extend([7, 0]);
    pipe.close(None);
    assert!(!pipe.socket.socket.ended && pipe.wants_write());
    pipe.flush_control().unwrap_or_default();
    pipe.flush_control().unwrap();
    assert!(pipe.socket.socket.ended && !pipe.wants_write());
    assert!(
        pipe.socket.socket.sent.starts_with(b"HTTP/1.1 405 ") && pipe.socket.socket.sent.ends_with(b"GET\n")
    );
    assert_eq!(kind(pipe.write(&[IoSlice::new(b"x")])), ErrorKind::BrokenPipe);
}

#[test]
fn a_broken_rule_is_told() {
    let mut pipe = open();
    let error = hear(&mut pipe, &[client(0x82, b"fine"), client(0x81, b"text")].concat()).unwrap_err();
    assert_eq!(rule(&error), WsError::Text);
    pipe.close(Some(1000));
    assert_eq!(frames(&pipe.socket.socket.sent), [(0x88, 1003_u16.to_be_bytes().to_vec())]);
    assert!(pipe.socket.socket.ended);
}

#[test]
fn the_close_of_the_peer_is_answered() {
    let mut pipe = open();
    pipe.socket
        .socket
        .incoming
        .extend([client(0x82, b"bye"), client(0x88, &1001_u16.to_be_bytes())].concat());
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    let outcome = pipe.read(&mut buffer, &mut |payload| heard.extend_from_slice(payload)).unwrap();
    assert!(outcome.eof && heard == b"bye");
    // The queued answer goes out with a write too, though its bytes cannot.
    assert_eq!(kind(pipe.write(&[IoSlice::new(b"late")])), ErrorKind::BrokenPipe);
    pipe.close(None);
    assert_eq!(frames(&pipe.socket.socket.sent), [(0x88, 1001_u16.to_be_bytes().to_vec())]);
    assert!(pipe.socket.socket.ended);
}

#[test]
fn closing_waits_for_the_socket() {
    let mut pipe = open();
    pipe.socket.socket.takes.extend([0, 1, 0]);
    pipe.close(Some(1001));
    assert!(pipe.wants_write() && !pipe.socket.socket.ended);
    pipe.flush_control().unwrap();
    assert!(pipe.wants_write() && !pipe.socket.socket.ended);
    pipe.flush_control().unwrap();
    assert!(!pipe.wants_write() && pipe.socket.socket.ended);
    assert_eq!(frames(&pipe.socket.socket.sent), [(0x88, 1001_u16.to_be_bytes().to_vec())]);
}

#[test]
fn closing_gives_up_an_unfinished_frame() {
    let mut pipe = open();
    pipe.socket.socket.takes.extend([5, 0]);
    assert_eq!(pipe.write(&[IoSlice::new(b"abcdef")]).unwrap(), 3);
    pipe.close(None);
    assert!(pipe.socket.socket.ended && !pipe.wants_write());
    assert_eq!(pipe.socket.socket.sent, b"\x82\x06abc");
}

#[test]
fn pings_without_end_are_not_answered_without_end() {
    let mut pipe = open();
    pipe.socket.socket.takes.extend([0; 10_000]);
    let pings = client(0x89, &[0; 125]).repeat(31);
    let error = (0..10_000).find_map(|_| hear(&mut pipe, &pings).err()).unwrap();
    assert_eq!(rule(&error), WsError::UnreadReplies);
    pipe.socket.socket.takes.clear();
    pipe.close(None);
    assert!(
        (65_536..65_536 + 4096).contains(&pipe.socket.socket.sent.len()),
        "{}",
        pipe.socket.socket.sent.len()
    );
    assert_eq!(frames(&pipe.socket.socket.sent).pop(), Some((0x88, 1008_u16.to_be_bytes().to_vec())));
}

#[test]
fn many_pings_are_answered_if_the_answers_are_read() {
    let mut pipe = open();
    let pings = client(0x89, &[0; 125]).repeat(31);
    for _ in 0..100 {
        // No flush between: reading makes room by itself.
        hear(&mut pipe, &pings).unwrap();
    }
    pipe.flush_control().unwrap();
    assert_eq!(frames(&pipe.socket.socket.sent).len(), 3100);
}

#[derive(Clone, Debug)]
enum Step {
    /// The application has so many bytes more.
    Queue(usize),
    Write,
    /// The peer sends a PING.
    Ping(Vec<u8>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..400).prop_map(Step::Queue),
        proptest::strategy::Just(Step::Write),
        vec(any::<u8>(), 0..20).prop_map(Step::Ping),
        proptest::strategy::Just(Step::Flush),
    ]
}

/// Offers all of `queue`, cut into three slices.
fn offer(pipe: &mut Pipe<Trickle>, queue: &mut Vec<u8>) {
    let (head, tail) = queue.split_at(queue.len() / 3);
    let (middle, tail) = tail.split_at(tail.len() / 2);
    match pipe.write(&[IoSlice::new(head), IoSlice::new(middle), IoSlice::new(tail)]) {
        Ok(taken) => drop(queue.drain(..taken)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

proptest! {
    #[test]
    fn partial_writes_lose_and_mix_nothing(
        steps in vec(step(), 0..60), takes in vec(prop_oneof![0_usize..6, 0_usize..300], 0..120)
    ) {
        let mut pipe = open();
        pipe.socket.socket.takes = takes.into();
        let (mut queue, mut data, mut pongs) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Queue(len) => {
                    let bytes = vec![index.to_le_bytes()[0]; len];
                    queue.extend_from_slice(&bytes);
                    data.extend(bytes);
                }
                Step::Write => offer(&mut pipe, &mut queue),
                Step::Ping(payload) => {
                    hear(&mut pipe, &client(0x89, &payload)).unwrap();
                    pongs.push(payload);
                }
                Step::Flush => pipe.flush_control().unwrap(),
            }
        }
        pipe.socket.socket.takes.clear();
        offer(&mut pipe, &mut queue);
        pipe.flush_control().unwrap();
        prop_assert!(queue.is_empty() && !pipe.wants_write());
        let (sent_data, sent_pongs): (Vec<_>, Vec<_>) =
            frames(&pipe.socket.socket.sent).into_iter().partition(|(first, _)| *first == 0x82);
        prop_assert_eq!(sent_data.into_iter().flat_map(|(_, payload)| payload).collect::<Vec<_>>(), data);
        prop_assert!(sent_pongs.iter().all(|(first, _)| *first == 0x8A));
        prop_assert_eq!(sent_pongs.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), pongs);
    }
}
