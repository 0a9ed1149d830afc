//! MQTT Control Packets of 3.1, 3.1.1 and 5.0: decode and encode.
#![forbid(unsafe_code)]
