"The style of the documentation site that Sphinx builds, beside that of its theme."

CSS = """
.cell_output table { border-collapse: collapse; font-size: .85rem; margin: .5rem 0;
  width: max-content }
.cell_output table :is(th, td) { border: 0; max-width: 14rem; padding: .2rem .5rem;
  text-align: right }
.cell_output table tbody th { font-weight: normal }
.cell_output table.printed tbody th { max-width: none }
.cell_output table.printed th > div { width: 18em }
.cell_output table :is(tbody th, thead th:first-child) { text-align: left }
.cell_output table thead th[colspan], .cell_output table thead th[halign] { text-align: center }
.cell_output table { border: solid var(--color-foreground-muted); border-width: 1px 0 }
.cell_output table tbody { border-top: 1px solid var(--color-foreground-muted) }
.cell_output table small { color: var(--color-foreground-secondary) }
.cell_output table b { font-weight: 700 }
.cell_output div[style*="overflow-x"], .cell_output .text_html { overflow-x: auto }
.cell_output details { margin: .5rem 0 }
.cell_output summary { cursor: pointer; font-size: .85rem }
details.hide.above-input { background: none; box-shadow: none; border: 0; padding: 0 }
details.hide.above-input > summary { list-style: none }
details.hide.above-input > summary p.admonition-title { background: none; border: 0;
  color: var(--color-foreground-secondary); font-size: .8rem; font-weight: normal;
  margin: 0; padding: 0 }
details.hide.above-input > summary p.admonition-title::before { content: none }
details.hide.above-input > summary p.collapsed::after { content: " \\25b8" }
details.hide.above-input > summary p.expanded::after { content: " \\25be" }
.cell_output img { height: auto; max-width: 100% }
/* on a phone a drawing keeps letters that can be read, and scrolls; so does a table, whose names
   of rows stay in sight */
@media (max-width: 38rem) {
  .cell_output img[src$=".png"] { max-width: 38rem }
  .cell_output:has(> a > img, > img) { overflow-x: auto; overflow-y: hidden }
  .cell_output table { font-size: .75rem }
  .cell_output table :is(th, td) { padding: .15rem .3rem }
  .cell_output table.printed th > div { min-width: 0 !important; width: 12em }
  .cell_output table tr > th:first-child { background: var(--color-background-primary);
    left: 0; position: sticky }
  div.math { font-size: 84% }
}
/* line drawings are PNG files, and photographs are JPEG */
body[data-theme="dark"] .cell_output img[src$=".png"] { filter: invert(.92) hue-rotate(180deg) }
@media (prefers-color-scheme: dark) {
  body:not([data-theme="light"]) .cell_output img[src$=".png"] {
    filter: invert(.92) hue-rotate(180deg) }
}
mjx-container[display="true"], div.math { overflow-x: auto; overflow-y: hidden }
article h2 { font-size: 1.6rem }
article h3 { font-size: 1.25rem }
article p.lead { font-size: 1.1rem; color: var(--color-foreground-secondary) }
"""
