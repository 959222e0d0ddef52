//! The chart: the latency by the number of the unit's members, and by the delay of each request to DynamoDB.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line of measured points.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Draws both panels, one above the other.
pub fn draw(file: &Path, members: &[Line], delay: &[Line]) -> Result<()> {
    let area = SVGBackend::new(file, (800, 900)).into_drawing_area();
    let drawn = (|| {
        area.fill(&WHITE)?;
        let (upper, lower) = area.split_vertically(450);
        panel(
            &upper,
            "Median latency of an update that changes one department",
            "members of the unit",
            members,
        )?;
        panel(&lower, "Median latency of an update", "ms added to each request to DynamoDB", delay)?;
        area.present()
    })();
    drawn.map_err(|error| anyhow!("drawing the chart: {error}"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(area: &Area<'a>, title: &str, x: &str, lines: &[Line]) -> Drawn<'a> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let largest_x = points().map(|point| point.0).fold(1.0, f64::max);
    let largest_y = points().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..largest_x * 1.05, 0.0..largest_y * 1.1)?;
    chart.configure_mesh().x_desc(x).y_desc("ms").light_line_style(WHITE).draw()?;
    for (number, line) in lines.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    let legend = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(legend).border_style(BLACK).background_style(WHITE).draw()
}
