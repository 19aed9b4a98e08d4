//! x86_64 instructions on our vCPU, and on the real processor that the tests run on.

pub mod approximate;
pub mod excluded;
pub mod features;
pub mod forms;
pub mod generate;
pub mod ours;
pub mod state;
mod tune;
pub mod undefined;
pub mod values;
pub mod window;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod compare;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
