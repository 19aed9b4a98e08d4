//! The suite of small programs by which translators are compared: what there is (`list`), how it is compiled (`build`),
//! where it runs (`runner`, `template`), and what comes out (`results`, `chart`).

pub mod build;
pub mod chart;
pub mod list;
pub mod results;
pub mod runner;
pub mod template;
