//! What is on the topics, as several parts of the pipeline read it. Pure: bytes in, values out.

pub mod receipt;
