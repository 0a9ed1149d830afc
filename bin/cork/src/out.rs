//! Printing to somebody who may have stopped reading.
//!
//! The macros of the standard library panic when their output is a closed pipe (`cork check cork.toml | head -0`); these,
//! which hide them in this program, leave the line out, and the exit code says what it always does.

macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*).and_then(|()| std::io::stdout().flush());
    }};
}

macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
