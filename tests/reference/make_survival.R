# Reference values for pooled survival rates from metafor.
# Run from the root of the repository:  Rscript tests/reference/make_survival.R
# Writes tests/reference/survival.json. The effect sizes are formed here, from the rates and from a
# variance by the delta method, so that both steps are checked. Thresholds are tightened.
suppressMessages({library(metafor); library(jsonlite)})

sets <- list(
  three = list(s = c(0.286, 0.38, 0.62), n = c(14, 19, 87)),
  alike = list(s = c(0.71, 0.70, 0.73, 0.72), n = c(14, 30, 22, 51)),
  spread = list(s = c(0.12, 0.9, 0.55, 0.33, 0.71), n = c(40, 18, 9, 25, 60)),
  high = list(s = c(0.97, 0.88, 0.99), n = c(31, 12, 75.5)))
tight <- list(threshold = 1e-13, maxiter = 2000)
num <- function(z) unname(as.numeric(z))
back <- function(y) exp(-exp(num(y)))

out <- lapply(sets, function(d) {
  y <- log(-log(d$s))
  g <- deriv(~ log(-log(s)), "s", function.arg = TRUE)
  slope <- as.vector(attr(g(d$s), "gradient"))
  v <- slope^2 * d$s * (1 - d$s) / d$n
  f <- rma(y, v, method = "REML", test = "adhoc", control = tight)
  p <- predict(f)
  ci <- confint(f, control = list(tol = 1e-13, maxiter = 2000))$random[1, 2:3]
  list(rate = d$s, size = d$n, y = y, v = v, mu = num(f$beta), se = num(f$se), tau2 = f$tau2,
    tau2_ci = num(ci), i2 = f$I2, q = f$QE, q_p = f$QEp, estimate = back(f$beta),
    ci_low = back(f$ci.ub), ci_high = back(f$ci.lb), pi_low = back(p$pi.ub), pi_high = back(p$pi.lb),
    weight = num(weights(f)) / 100)
})
out$version <- as.character(packageVersion("metafor"))
write_json(out, "tests/reference/survival.json", digits = 17, auto_unbox = TRUE, pretty = TRUE)
