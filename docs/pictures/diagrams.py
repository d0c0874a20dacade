"""Pictures of structure: what a text is cut into, what crosses a cut, how a cell computes."""

from _svg import Picture


def chunks() -> Picture:
    """From a text to streams, sequences and chunks, each with a noise group."""
    p = Picture(720, 400)
    p.text(20, 22, "a text of n words", anchor="start", bold=True)
    for b in range(3):
        p.box(20 + b * 200, 38, 194, 24, f"part {b + 1}", colour="abc"[b])
    p.arrow((320, 68), (320, 96))
    p.text(20, 112, "B = 3 streams, read side by side", anchor="start", bold=True)
    for b in range(3):
        p.box(20, 128 + b * 30, 600, 24, "", colour="abc"[b])
        p.text(632, 140 + b * 30, f"stream {b + 1}", "abc"[b], anchor="start", size=13)
    p.arrow((20, 226), (620, 226))
    p.text(632, 226, "time", anchor="start", size=13)
    p.line((320, 120), (320, 222), dashed=True, width=1.8)
    p.text(170, 244, "sequence 1: S steps", size=13)
    p.text(470, 244, "sequence 2: S steps", size=13)
    p.text(20, 280, "each sequence: N = 4 chunks of T steps; one update after each", anchor="start", bold=True)
    for n in range(8):
        x = 20 + n * 75
        p.box(x, 296, 69, 30, f"chunk {n % 4 + 1}")
        p.arrow((x + 34, 362), (x + 34, 330), colour="d")
        p.box(x + 4, 362, 61, 26, "K words", colour="d")
    p.text(632, 375, "noise groups", "d", anchor="start", size=13)
    return p


def strip() -> Picture:
    """The indices of h and x in a chunk of T = 4 steps."""
    p = Picture(720, 200)
    for t in range(5):
        x = 70 + t * 130
        p.box(x, 70, 70, 32, f"h[{t}]", colour="a" if t else "b")
        if t < 4:
            p.box(x + 65, 140, 70, 30, f"x[{t}]", colour="ink")
            p.arrow((x + 70, 86), (x + 130, 86))
            p.arrow((x + 100, 140), (x + 100, 90))
            p.text(x + 100, 56, f"step {t}", size=13)
    p.text(105, 122, "carried in", "b", size=13)
    p.text(625, 122, "carried on", "a", size=13)
    p.text(20, 20, "Step t reads h[t] and x[t], and writes h[t + 1], which is also its output.", anchor="start")
    return p


def cut() -> Picture:
    """What crosses the boundary between two chunks."""
    p = Picture(720, 260)
    p.box(60, 70, 240, 60, "chunk n")
    p.box(420, 70, 240, 60, "chunk n + 1")
    p.line((360, 20), (360, 250), dashed=True, colour="b", width=2)
    p.text(368, 20, "the cut", "b", anchor="start", bold=True)
    p.arrow((300, 88), (420, 88), colour="a")
    p.text(312, 54, "values h, c", "a", anchor="end")
    p.text(408, 54, "cross", "a", anchor="start")
    p.arrow((420, 114), (372, 114), colour="b")
    p.text(360, 114, "✕", "b", size=18, bold=True)
    p.text(408, 152, "the gradient stops", "b", anchor="start")
    p.arrow((180, 130), (180, 190))
    p.arrow((590, 130), (590, 190))
    p.box(60, 190, 240, 40, "update n of the parameters", colour="c")
    p.box(420, 190, 240, 40, "update n + 1 of the parameters", colour="c")
    p.arrow((300, 210), (420, 210), colour="c")
    p.text(60, 28, "parameters after update n - 1", "c", size=13, anchor="start")
    p.arrow((45, 28), (45, 100), (60, 100), colour="c")
    p.arrow((330, 210), (330, 172), (400, 172), (400, 122), (420, 122), colour="c", dashed=True)
    p.text(330, 246, "the parameters change", "c", size=13)
    return p


def bag() -> Picture:
    """One word of the text among K words of noise."""
    p = Picture(720, 250)
    p.box(20, 30, 190, 44, "the text: p(w)", colour="a")
    p.box(20, 160, 190, 44, "the noise: q(w)", colour="b")
    p.arrow((210, 52), (300, 96), colour="a")
    p.text(262, 52, "1 word", "a", size=13, anchor="start")
    p.arrow((210, 182), (300, 138), colour="b")
    p.text(262, 186, "K words", "b", size=13, anchor="start")
    p.box(300, 76, 150, 84)
    p.dot(322, 96, "a", 7)
    for k in range(9):
        p.dot(344 + 22 * (k % 5) - 22 * (k >= 5), 96 + 24 * (k >= 5), "b", 7)
    p.text(375, 146, "the bag", size=13)
    p.arrow((450, 118), (520, 118))
    p.text(485, 102, "take w", size=13)
    p.text(530, 70, "text or noise?", anchor="start", bold=True)
    p.text(530, 100, "odds for text", anchor="start")
    p.text(530, 126, "p(w) : K q(w)", anchor="start", mono=True)
    p.text(530, 152, "log-odds, by the model", anchor="start")
    p.text(530, 178, "s(w) - log(K q(w))", anchor="start", mono=True)
    return p


def repeated() -> Picture:
    """A word that occurs twice gets the sum of two gradients."""
    p = Picture(720, 250)
    p.text(20, 22, "forward: two positions read row 7", anchor="start", bold=True)
    p.text(390, 22, "backward: row 7 gets both, added", anchor="start", bold=True)
    for left, colour in ((20, "a"), (390, "b")):
        for row in range(5):
            p.box(left, 50 + row * 36, 110, 28, f"row {row + 5}", colour=colour if row == 2 else "ink")
        for n, word in enumerate((7, 7, 9)):
            p.box(left + 220, 60 + n * 56, 90, 30, f"id {word}", colour=colour if word == 7 else "ink")
    p.arrow((130, 136), (240, 75), colour="a")
    p.arrow((130, 136), (240, 131), colour="a")
    p.arrow((130, 208), (240, 187))
    p.arrow((610, 75), (500, 130), colour="b")
    p.arrow((610, 131), (500, 138), colour="b")
    p.arrow((610, 187), (500, 208))
    p.text(566, 78, "dx[0]", "b", size=13)
    p.text(566, 150, "dx[1]", "b", size=13)
    p.text(566, 216, "dx[2]", size=13)
    p.text(530, 126, "+", "b", size=18, bold=True)
    return p


def lstm() -> Picture:
    """One step of the cell; the labels are those of the equations, the dots are where gradients add."""
    p = Picture(760, 440)
    p.text(20, 20, "forward, left to right", anchor="start", bold=True)
    p.text(740, 20, "backward: every arrow reversed; at a dot, two gradients add", "b", anchor="end", size=13)
    cell, hidden = 90, 360  # heights of the upper and the lower line
    p.text(30, cell, "c[t]", "a", anchor="start")
    p.arrow((70, cell), (217, cell), colour="a")
    p.node(230, cell, "*", "a")
    p.arrow((243, cell), (417, cell), colour="a")
    p.node(430, cell, "+", "a")
    p.arrow((443, cell), (640, cell), colour="a")
    p.text(650, cell, "c[t+1]", "a", anchor="start")
    p.text(330, cell - 16, "[L4]", size=12)
    p.text(30, hidden, "h[t]", anchor="start")
    p.text(30, hidden + 44, "x[t]", anchor="start")
    p.arrow((70, hidden), (120, hidden))
    p.line((70, hidden + 44), (140, hidden + 44))
    p.arrow((140, hidden + 44), (140, hidden + 20))
    p.box(120, hidden - 20, 500, 40, "a = x W_ihᵀ + h W_hhᵀ + b   [L1]")
    gates = ((230, "f", "sigmoid"), (370, "i", "sigmoid"), (450, "g", "tanh"), (560, "o", "sigmoid"))
    for x, _, kind in gates:
        p.arrow((x, hidden - 20), (x, 306))
        p.box(x - 36, 276, 72, 30, kind)
    p.text(410, 256, "[L2] [L3]", size=12)
    p.arrow((230, 276), (230, 103))
    p.text(216, 200, "f")
    p.node(430, 180, "*")
    p.arrow((370, 276), (370, 180), (417, 180))
    p.text(358, 210, "i")
    p.arrow((450, 276), (450, 240), (430, 240), (430, 193))
    p.text(464, 250, "g")
    p.arrow((430, 167), (430, 103))
    p.dot(500, cell, "b", 5)
    p.text(500, cell - 18, "dc: add", "b", size=12)
    p.arrow((500, cell), (500, 126))
    p.box(468, 126, 64, 28, "tanh")
    p.line((532, 140), (560, 140))
    p.arrow((560, 140), (560, 177))
    p.node(560, 190, "*")
    p.arrow((560, 276), (560, 203))
    p.text(574, 250, "o")
    p.text(530, 190, "[L5]", size=12)
    p.arrow((573, 190), (640, 190))
    p.text(650, 190, "h[t+1]", anchor="start")
    p.dot(606, 190, "b", 5)
    p.text(640, 172, "dh: add", "b", size=12)
    p.arrow((606, 190), (606, 50))
    p.text(606, 40, "to the layer above", size=12)
    p.text(650, 212, "to step t + 1", size=12, anchor="start")
    p.text(650, cell + 22, "to step t + 1", size=12, anchor="start")
    return p
