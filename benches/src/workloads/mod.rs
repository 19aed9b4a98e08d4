//! The suite of small programs by which translators are compared: what there is (`list`), how it is compiled (`build`),
//! where it runs (`runner`, `template`), commands that need translation above all (`cold`), a round of all of it (`suite`),
//! and what comes out (`results`, `chart`, `report`, `stats`).

pub mod build;
pub mod chart;
pub mod cold;
pub mod list;
pub mod report;
pub mod results;
pub mod runner;
pub mod stats;
pub mod suite;
pub mod template;
