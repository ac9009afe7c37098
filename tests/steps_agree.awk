# steps_agree.awk OURS THEIRS -- every step of the reference's log THEIRS against our metrics.jsonl:
# loss, norm and rate; prints the worst differences. The rate is equal as a float: nine digits of it
# differ from the whole by less than half of two floats' distance.
BEGIN { early = 2e-5; late = 2e-4; norm = 1e-3; rate = 2.9e-8 }

function number(name, at, text) {
    at = index($0, "\"" name "\": ")
    text = at ? substr($0, at + length(name) + 4) : ""
    if (text !~ /^-?[0-9]/) { print "no number " name " in " $0; wrong = 1; exit }
    return text + 0
}
function distance(a, b) { return a < b ? b - a : a - b }

FNR == NR {
    if (/"loss"/) {
        s = number("step"); loss[s] = number("loss")
        grad[s] = number("grad_norm"); lr[s] = number("learning_rate")
    }
    next
}
/"Train Loss"/ {
    s = number("step"); steps++
    if (!(s in loss)) { print "no step " s; wrong = 1; exit }
    d = distance(loss[s], number("Train Loss"))
    g = number("Gradient Norm"); g = distance(grad[s], g) / g
    r = number("Learning Rate"); r = distance(lr[s], r) / r
    if (!(d <= (s <= 30 ? early : late)) || !(g <= norm) || !(r <= rate)) {
        print "step " s ": loss " d " off, norm " g ", rate " r; wrong = 1; exit
    }
    if (s <= 30 && d > worst_early) worst_early = d
    if (s > 30 && d > worst_late) worst_late = d
    if (g > worst_norm) worst_norm = g
}
END {
    if (wrong || !steps) exit 1
    printf "%d steps: loss %.1e to step 30, %.1e after; norm %.1e\n", steps, worst_early, worst_late,
           worst_norm
}
