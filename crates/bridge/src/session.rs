//! A link's session in this broker, before and after there is another broker to talk to: made and subscribed, so that
//! messages wait in it from the first moment, or ended.

use std::io;

use cork_client::{Connector, Server, Transport};
use cork_packet::{
    Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion, ReasonCode,
    Receiver, RetainHandling, SubscribeBuf, UnsubscribeBuf, decode,
};
use cork_proto::{Inbound, split_packet};
use cork_store::ASLEEP_ASKED_BY;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::relay::{Plan, local_connect, local_options};

/// Makes the session of a plan, subscribes what its rules say and unsubscribes `old`. Returns whether it was there.
///
/// Nothing comes from here yet, neither what waits nor what is retained. What is retained of `unasked`, and of all if the
/// session is new, is to be asked for when the other broker is there: a subscription with "do not send" is the note of that,
/// which survives this broker. The others were asked for, and asking only if they are new changes nothing.
pub(crate) async fn prepare(
    connector: &dyn Connector,
    server: &Server,
    plan: &Plan,
    old: &[String],
    unasked: &[String],
) -> io::Result<bool> {
    let (client_id, rules) = (plan.local_id.as_str(), plan.subscribed());
    let mut properties = properties(u32::MAX);
    properties.push(Property::UserProperty(ASLEEP_ASKED_BY, ""));
    plan.wishes(&mut properties);
    let mut pipe = Pipe::open(connector, server).await?;
    let present = pipe.connect(&local_connect(client_id, properties.as_properties())).await?;
    if !rules.is_empty() {
        let mut filters = SubscribeBuf::new();
        for rule in rules {
            let filter = rule.subscription();
            let asked = present && !unasked.contains(&filter);
            let retained = if asked { RetainHandling::SendIfNew } else { RetainHandling::DoNotSend };
            filters.push(&filter, local_options(rule.qos, retained)).map_err(io::Error::other)?;
        }
        pipe.send(&Packet::Subscribe(filters.subscribe(PacketId::FIRST, Properties::EMPTY))).await?;
        let refused = pipe.wait(|packet| match packet {
            Packet::SubAck(ack) => {
                Some(ack.codes.iter().copied().map(ReasonCode).find(|code| code.is_error()))
            }
            _ => None,
        });
        if let Some(reason) = refused.await? {
            return Err(io::Error::other(format!("a subscription is refused: {reason}")));
        }
    }
    // Only now: what is wanted before and after this is not missed in between.
    if !old.is_empty() {
        let mut filters = UnsubscribeBuf::new();
        for filter in old {
            filters.push(filter).map_err(io::Error::other)?;
        }
        pipe.send(&Packet::Unsubscribe(filters.unsubscribe(PacketId::FIRST, Properties::EMPTY))).await?;
        pipe.wait(|packet| matches!(packet, Packet::UnsubAck(_)).then_some(())).await?;
    }
    pipe.disconnect().await?;
    Ok(present)
}

/// Ends the session `client_id` and drops what waits in it.
pub(crate) async fn end(connector: &dyn Connector, server: &Server, client_id: &str) -> io::Result<()> {
    let mut pipe = Pipe::open(connector, server).await?;
    let properties = properties(0);
    let connect = Connect { clean_start: true, ..local_connect(client_id, properties.as_properties()) };
    pipe.connect(&connect).await?;
    pipe.disconnect().await
}

fn properties(expiry: u32) -> PropertiesBuf {
    let mut properties = PropertiesBuf::default();
    properties.push(Property::SessionExpiryInterval(expiry));
    properties.push(Property::ReceiveMaximum(1));
    properties
}

struct Pipe {
    transport: Box<dyn Transport>,
    inbound: Inbound,
}

impl Pipe {
    async fn open(connector: &dyn Connector, server: &Server) -> io::Result<Self> {
        let transport = connector.connect(server).await.map_err(io::Error::other)?;
        Ok(Self { transport, inbound: Inbound::default() })
    }

    async fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        packet.encode(ProtocolVersion::V5, &mut bytes).map_err(io::Error::other)?;
        self.transport.write_all(&bytes).await
    }

    /// Whether the session was there.
    async fn connect(&mut self, connect: &Connect<'_>) -> io::Result<bool> {
        self.send(&Packet::Connect(*connect)).await?;
        let answer = self.wait(|packet| match packet {
            Packet::ConnAck(ack) => Some((ack.code, ack.session_present)),
            _ => None,
        });
        match answer.await? {
            (0, present) => Ok(present),
            (code, _) => Err(io::Error::other(format!("it refuses the link: {}", ReasonCode(code)))),
        }
    }

    async fn disconnect(&mut self) -> io::Result<()> {
        let goodbye = Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties: Properties::EMPTY };
        self.send(&Packet::Disconnect(goodbye)).await?;
        // The broker closes when it has seen it.
        let mut rest = [0; 4096];
        while self.transport.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        Ok(())
    }

    /// Reads until `wanted` finds what it wants.
    async fn wait<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> io::Result<T> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let kept = self.inbound.take();
            let mut input = kept.as_slice();
            while let Some(bytes) = split_packet(&mut input, usize::MAX).map_err(io::Error::other)? {
                let packet =
                    decode(ProtocolVersion::V5, Receiver::Client, bytes).map_err(io::Error::other)?;
                if let Packet::Disconnect(disconnect) = &packet {
                    return Err(io::Error::other(format!("it ended the connection: {}", disconnect.reason)));
                }
                if let Some(found) = wanted(&packet) {
                    self.inbound.keep(input);
                    return Ok(found);
                }
            }
            self.inbound.keep(input);
            let count = self.transport.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbound.keep(&buffer[..count]);
        }
    }
}
