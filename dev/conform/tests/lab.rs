//! The lab itself: one message through every version, and through two shards.
#![forbid(unsafe_code)]

use cork_conform::{
    Lab,
    wire::{self, V5, V31, V311},
};

#[test]
fn a_message_reaches_a_subscriber_in_every_version_and_on_every_number_of_shards() {
    for shards in 1..4 {
        for version in [V31, V311, V5] {
            for qos in 0..3u8 {
                let mut lab = Lab::with(|config| config.shards = shards);
                let receiver = lab.connect(version, "receiver");
                lab.send(receiver, &wire::subscribe(version, 1, &[("a/+", qos)]));
                for name in ["s1", "s2", "s3"] {
                    let sender = lab.connect(version, name);
                    let id = (qos > 0).then_some(7);
                    lab.send(sender, &wire::publish(version, qos << 1, "a/b", id, name.as_bytes()));
                }
                assert_eq!(lab.payloads(receiver).len(), 3, "version {version}, QoS {qos}, {shards} shards");
            }
        }
    }
}
