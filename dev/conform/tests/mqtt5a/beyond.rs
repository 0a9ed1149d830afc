//! What chapter 3.1 to 3.3 ask without giving it a number.
