//! SUBSCRIBE and UNSUBSCRIBE, and their answers.

use cork_packet::{
    EncodeError, Packet, Properties, PropertiesBuf, PropertyId, PropertyPlace, ReasonCode, SubAck,
    SubscribeBuf, SubscriptionOptions, UnsubAck, UnsubscribeBuf, split_share, validate_filter,
};
use cork_proto::PeerError;

use super::{Event, Granted, Machine, Token};
use crate::SubscribeError;

/// A SUBSCRIBE or UNSUBSCRIBE; it is sent again on the next connection when this one ends before the answer.
#[derive(Clone, Debug)]
pub enum Request {
    /// SUBSCRIBE.
    Subscribe {
        /// Topic Filters and how to serve them.
        filters: Vec<(String, SubscriptionOptions)>,
        /// Subscription Identifier and User Properties.
        properties: PropertiesBuf,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Topic Filters.
        filters: Vec<String>,
        /// User Properties.
        properties: PropertiesBuf,
    },
}

impl Request {
    fn filters(&self) -> impl Iterator<Item = (&str, SubscriptionOptions)> {
        let (subscribe, unsubscribe) = match self {
            Self::Subscribe { filters, .. } => (&filters[..], &[][..]),
            Self::Unsubscribe { filters, .. } => (&[][..], &filters[..]),
        };
        subscribe
            .iter()
            .map(|(filter, options)| (filter.as_str(), *options))
            .chain(unsubscribe.iter().map(|filter| (filter.as_str(), SubscriptionOptions::default())))
    }

    fn check(&self) -> Result<(), SubscribeError> {
        if self.filters().next().is_none() {
            return Err(SubscribeError::Empty);
        }
        for (filter, options) in self.filters() {
            let shared = split_share(filter).and_then(|shared| match shared {
                Some(_) => Ok(true),
                None => validate_filter(filter).map(|()| false),
            });
            match shared {
                Err(error) => return Err(SubscribeError::Filter { filter: filter.to_owned(), error }),
                // 5.0 [MQTT-3.8.3-4]
                Ok(true) if options.no_local => return Err(SubscribeError::NoLocalOnShared),
                Ok(_) => {}
            }
        }
        let (Self::Subscribe { properties, .. } | Self::Unsubscribe { properties, .. }) = self;
        properties.check().map_err(SubscribeError::Property)?;
        let place = match self {
            Self::Subscribe { .. } => PropertyPlace::Subscribe,
            Self::Unsubscribe { .. } => PropertyPlace::Unsubscribe,
        };
        Properties::decode(properties.as_properties().raw(), place)
            .map(|_| ())
            .map_err(|error| SubscribeError::Packet(error.to_string()))
    }

    fn encode(
        &self,
        version: cork_packet::ProtocolVersion,
        packet_id: cork_packet::PacketId,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Subscribe { filters, properties } => {
                let mut buf = SubscribeBuf::new();
                filters.iter().try_for_each(|(filter, options)| buf.push(filter, *options))?;
                let subscribe = buf.subscribe(packet_id, properties.as_properties());
                Packet::Subscribe(subscribe).encode(version, out)
            }
            Self::Unsubscribe { filters, properties } => {
                let mut buf = UnsubscribeBuf::new();
                filters.iter().try_for_each(|filter| buf.push(filter))?;
                let unsubscribe = buf.unsubscribe(packet_id, properties.as_properties());
                Packet::Unsubscribe(unsubscribe).encode(version, out)
            }
        }
    }
}

impl Machine {
    /// Sends a SUBSCRIBE or UNSUBSCRIBE, on this connection or the next one.
    ///
    /// # Errors
    /// What is wrong with it, or what the server said it does not have; nothing is sent then.
    pub fn request(&mut self, request: Request, token: Token) -> Result<(), SubscribeError> {
        request.check()?;
        if self.is_online() {
            self.check_abilities(&request)?;
            self.send_request(token, request)
        } else {
            self.waiting_requests.push_back((token, request));
            Ok(())
        }
    }

    /// 5.0 3.2.2.3.11 to .13: asking for what the server does not have is a protocol error.
    fn check_abilities(&self, request: &Request) -> Result<(), SubscribeError> {
        let (Some(limits), Request::Subscribe { filters, .. }) = (&self.limits, request) else {
            return Ok(());
        };
        for (filter, _) in filters {
            let shared = filter.starts_with("$share/");
            if shared && self.version.is_v5() && !limits.shared_subscriptions {
                return Err(SubscribeError::NotSupported(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED));
            }
            if filter.contains(['+', '#']) && !limits.wildcard_subscriptions {
                return Err(SubscribeError::NotSupported(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED));
            }
        }
        Ok(())
    }

    fn send_request(&mut self, token: Token, mut request: Request) -> Result<(), SubscribeError> {
        let identifiers = self.limits.as_ref().is_some_and(|limits| limits.subscription_identifiers);
        if let Request::Subscribe { properties, .. } = &mut request
            && !identifiers
        {
            properties.remove(PropertyId::SubscriptionIdentifier);
        }
        let free = self.requests.len() < REQUESTS_MAX;
        let Some(packet_id) = free.then(|| self.inflight.reserve()).flatten() else {
            self.waiting_requests.push_back((token, request));
            return Ok(());
        };
        let start = self.out.len();
        let encoded = request.encode(self.version, packet_id, &mut self.out);
        let length = self.out.len() - start;
        if let Err(why) = encoded.map_err(|error| error.to_string()).and_then(|()| {
            if self.fits(length) {
                Ok(())
            } else {
                Err("the packet is larger than the server allows".to_owned())
            }
        }) {
            self.out.truncate(start);
            self.inflight.free(packet_id);
            return Err(SubscribeError::Packet(why));
        }
        self.wrote(start);
        self.requests.insert(packet_id, (token, request));
        Ok(())
    }

    /// The connection is gone: requests without answer are asked again on the next.
    pub(super) fn reopen_requests(&mut self) {
        for (packet_id, request) in std::mem::take(&mut self.requests) {
            self.inflight.free(packet_id);
            self.waiting_requests.push_back(request);
        }
    }

    pub(super) fn resend_requests(&mut self) {
        for (token, request) in std::mem::take(&mut self.waiting_requests) {
            let sent = self.check_abilities(&request).and_then(|()| self.send_request(token, request));
            if let Err(error) = sent {
                self.events.push_back(Event::RequestFailed(token, error));
            }
        }
    }

    pub(super) fn handle_suback(&mut self, suback: &SubAck<'_>) -> Result<(), PeerError> {
        let Some((token, Request::Subscribe { filters, .. })) = self.requests.remove(&suback.packet_id)
        else {
            return Err(PeerError::AckMismatch(suback.packet_id));
        };
        self.inflight.free(suback.packet_id);
        if suback.codes.len() != filters.len() {
            return Err(PeerError::AckMismatch(suback.packet_id));
        }
        let granted = granted(suback.codes, suback.properties);
        self.events.push_back(Event::Subscribed(token, granted));
        self.resend_requests();
        Ok(())
    }

    pub(super) fn handle_unsuback(&mut self, unsuback: &UnsubAck<'_>) -> Result<(), PeerError> {
        let Some((token, Request::Unsubscribe { filters, .. })) = self.requests.remove(&unsuback.packet_id)
        else {
            return Err(PeerError::AckMismatch(unsuback.packet_id));
        };
        self.inflight.free(unsuback.packet_id);
        if self.version.is_v5() && unsuback.codes.len() != filters.len() {
            return Err(PeerError::AckMismatch(unsuback.packet_id));
        }
        let granted = granted(unsuback.codes, unsuback.properties);
        self.events.push_back(Event::Unsubscribed(token, granted));
        self.resend_requests();
        Ok(())
    }
}

/// SUBSCRIBE and UNSUBSCRIBE packets without answer; more wait.
pub(super) const REQUESTS_MAX: usize = 512;

fn granted(codes: &[u8], properties: Properties<'_>) -> Granted {
    Granted { codes: codes.iter().map(|code| ReasonCode(*code)).collect(), properties: properties.into() }
}
