"""The ratios as a bar chart (SVG): logarithmic, with each row's goal as a mark."""

import math
from html import escape

LEFT, WIDTH, STEP, TOP = 380, 520, 20, 56
COLORS = {True: "#2a7f4f", False: "#b3402e"}


def svg(results, caption):
    shown = [result for result in results if result.ratio]
    ratios = [r.ratio for r in shown] + [r.row.goal for r in shown] + [1.0]
    low, high = math.floor(math.log10(min(ratios))), math.ceil(math.log10(max(ratios)) + 0.01)

    def x(ratio):
        return LEFT + WIDTH * (math.log10(ratio) - low) / (high - low)

    height = TOP + STEP * len(shown) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="18" font-size="15">Time of ours / time of DPDK (left is faster; | the ratio to reach)</text>',
        f'<text x="10" y="36" fill="#555">{escape(caption)}</text>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="{TOP - 8}" x2="{at:.1f}" y2="{height - 24}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle" fill="#555">{10.0**power:g}</text>')
    for i, result in enumerate(shown):
        y, one, end = TOP + STEP * i, x(1.0), x(result.ratio)
        out.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(result.row.name)}</text>')
        out.append(
            f'<rect x="{min(one, end):.1f}" y="{y + 1}" width="{max(abs(one - end), 1):.1f}" height="{STEP - 7}" '
            f'fill="{COLORS[result.reached]}"/>'
        )
        goal = x(result.row.goal)
        out.append(f'<line x1="{goal:.1f}" y1="{y - 1}" x2="{goal:.1f}" y2="{y + STEP - 4}" stroke="black" stroke-width="2"/>')
        out.append(f'<text x="{LEFT + WIDTH + 8}" y="{y + 11}">{result.ratio:.3g}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
