//! Line plots as SVG.

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 52.0;

/// Told apart by people who do not see all colours, too.
const COLOURS: [&str; 6] = [
    "#0b62a4", "#c2570c", "#2b8a57", "#8a3ffc", "#7a5c00", "#b3196b",
];
const FAINT: &str = "#c3ccd5";

/// How points are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Line,
    Marked,
    Dots,
}

/// One line or set of dots.
#[derive(Clone, Debug)]
pub(super) struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    shown: Shown,
    faint: bool,
}

impl Series {
    pub(super) fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points,
            shown: Shown::Line,
            faint: false,
        }
    }

    pub(super) fn faint(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            faint: true,
            ..Self::line(name, points)
        }
    }

    pub(super) fn marked(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            shown: Shown::Marked,
            ..Self::line(name, points)
        }
    }

    pub(super) fn dots(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            shown: Shown::Dots,
            ..Self::line(name, points)
        }
    }
}

/// A plot with two axes.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    across: String,
    up: String,
    x: (f64, f64),
    y: (f64, f64),
    diagonal: bool,
    series: Vec<Series>,
}

impl Plot {
    pub(super) fn new(across: &str, up: &str, x: (f64, f64), y: (f64, f64)) -> Self {
        let (across, up) = (across.to_owned(), up.to_owned());
        Self {
            across,
            up,
            x,
            y,
            diagonal: false,
            series: Vec::new(),
        }
    }

    pub(super) fn diagonal(mut self) -> Self {
        self.diagonal = true;
        self
    }

    pub(super) fn add(&mut self, series: Series) {
        self.series.push(series);
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part =
            |value: f64, (from, to): (f64, f64)| ((value - from) / (to - from)).clamp(0.0, 1.0);
        (
            LEFT + part(x, self.x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - part(y, self.y) * (HEIGHT - TOP - BOTTOM),
        )
    }

    pub(super) fn svg(&self) -> String {
        let rows = self.series.len().div_ceil(2);
        let all = HEIGHT + 20.0 * rows as f64;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {all}\" role=\"img\" font-family=\"system-ui,sans-serif\" font-size=\"12\">"
        );
        self.axes(&mut svg);
        if self.diagonal {
            let (x1, y1) = self.at((self.x.0, self.y.0));
            let end = self.x.1.min(self.y.1);
            let (x2, y2) = self.at((end, end));
            svg += &format!(
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#b9c4cf\" stroke-dasharray=\"4 4\"/>"
            );
        }
        let mut colours = COLOURS.iter().cycle();
        for (index, series) in self.series.iter().enumerate() {
            let next = if series.faint { None } else { colours.next() };
            self.draw(&mut svg, index, series, next.unwrap_or(&FAINT));
        }
        svg + "</svg>"
    }

    fn axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for y in ticks(self.y) {
            let (_, py) = self.at((self.x.0, y));
            *svg += &format!(
                "<line x1=\"{LEFT}\" y1=\"{py:.1}\" x2=\"{right}\" y2=\"{py:.1}\" stroke=\"#e6ebf0\"/>"
            );
            *svg += &format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#5d6b7a\">{}</text>",
                LEFT - 7.0,
                py + 4.0,
                number(y, self.y.1)
            );
        }
        for x in ticks(self.x) {
            let (px, _) = self.at((x, self.y.0));
            *svg += &format!(
                "<line x1=\"{px:.1}\" y1=\"{TOP}\" x2=\"{px:.1}\" y2=\"{bottom}\" stroke=\"#f1f4f7\"/>"
            );
            *svg += &format!(
                "<text x=\"{px:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5d6b7a\">{}</text>",
                bottom + 17.0,
                number(x, self.x.1)
            );
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        let height = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        *svg += &format!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#2f3d4a\">{}</text>",
            HEIGHT - 14.0,
            escaped(&self.across)
        );
        *svg += &format!(
            "<text x=\"14\" y=\"{height}\" text-anchor=\"middle\" fill=\"#2f3d4a\" transform=\"rotate(-90 14 {height})\">{}</text>",
            escaped(&self.up)
        );
    }

    fn draw(&self, svg: &mut String, index: usize, series: &Series, colour: &str) {
        let points: Vec<(f64, f64)> = series.points.iter().map(|point| self.at(*point)).collect();
        if series.shown != Shown::Dots {
            let path: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            *svg += &format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" stroke-linejoin=\"round\"/>",
                path.join(" "),
                // What lies below shows on both sides of a line that covers it.
                if series.faint { 6 } else { 2 }
            );
        }
        if series.shown != Shown::Line {
            let radius = if series.shown == Shown::Dots {
                5.0
            } else {
                3.2
            };
            for point in &points {
                *svg += &mark(index, *point, radius, colour);
            }
        }
        // The legend stands below, two in a row, where it hides nothing.
        let x = LEFT + (index % 2) as f64 * (WIDTH - LEFT) / 2.0;
        let y = HEIGHT + 10.0 + 20.0 * (index / 2) as f64;
        *svg += &mark(index, (x + 5.0, y - 4.0), 5.0, colour);
        *svg += &format!(
            "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"#2f3d4a\" font-size=\"11\">{}</text>",
            x + 15.0,
            escaped(&series.name)
        );
    }
}

/// A circle, a square, a triangle or a diamond, by turns: colours alone do not tell series apart.
fn mark(index: usize, (x, y): (f64, f64), radius: f64, colour: &str) -> String {
    let corners: &[(f64, f64)] = match index % 4 {
        0 => {
            return format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>"
            );
        }
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        _ => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    };
    let corners: Vec<String> = corners
        .iter()
        .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * radius, y + dy * radius))
        .collect();
    format!(
        "<polygon points=\"{}\" fill=\"{colour}\"/>",
        corners.join(" ")
    )
}

/// Places that are whole numbers of something.
fn ticks((from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    // Hours of a day go in fours, thirds in threes, all else in fives.
    let count = match (to * 100.0).round() as u32 {
        2_400 => 6,
        30 | 60 => 3,
        40 | 80 => 4,
        _ => 5,
    };
    (0..=count).map(move |tick| from + f64::from(tick) / f64::from(count) * (to - from))
}

fn number(value: f64, most: f64) -> String {
    if most >= 10.0 {
        format!("{value:.0}")
    } else if most > 0.5 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}
