//! PINGREQ and PINGRESP: sections 3.12 and 3.13.

use cork_conform::{
    Lab, Received,
    wire::{self, V5},
};

#[test]
fn mqtt5_3_12_4_1_pingreq_is_answered() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for many in 1..4 {
        lab.send(client, &wire::pingreq().repeat(many));
        let answers = lab.packets(client).into_iter().filter(|packet| *packet == Received::PingResp);
        assert_eq!(answers.count(), many);
    }
}
