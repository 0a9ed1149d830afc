//! A link's session in this broker, before and after there is another broker to talk to: made and subscribed, so that
//! messages wait in it from the first moment, or ended.

use std::io;

use cork_client::{Connector, Server, Transport};
use cork_packet::{
    Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion, ReasonCode,
    Receiver, RetainHandling, SubscribeBuf, UnsubscribeBuf, decode,
};
use cork_proto::{Inbound, split_packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    map::Rule,
    relay::{local_connect, local_options},
};

/// Makes the session `client_id`, subscribes what `rules` say and unsubscribes `old`. Returns whether it was there.
pub(crate) async fn prepare(
    connector: &dyn Connector,
    server: &Server,
    client_id: &str,
    rules: &[Rule],
    old: &[String],
) -> io::Result<bool> {
    let mut pipe = Pipe::open(connector, server).await?;
    // What waits is not asked for; it would have to be repeated anyway.
    let present = pipe.connect(&local_connect(client_id, properties(u32::MAX).as_properties())).await?;
    if !old.is_empty() {
        let mut filters = UnsubscribeBuf::new();
        for filter in old {
            filters.push(filter).map_err(io::Error::other)?;
        }
        pipe.send(&Packet::Unsubscribe(filters.unsubscribe(PacketId::FIRST, Properties::EMPTY))).await?;
        pipe.wait(|packet| matches!(packet, Packet::UnsubAck(_)).then_some(())).await?;
    }
    if !rules.is_empty() {
        let mut filters = SubscribeBuf::new();
        for rule in rules {
            let options = local_options(rule.qos, RetainHandling::DoNotSend);
            filters.push(&rule.filter, options).map_err(io::Error::other)?;
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
