# Reference values for moderators, robustness and clusters from metafor and lme4.
# Run from the root of the repository:  Rscript tests/reference/make_reference_extras.R
# Writes tests/reference/reference_extras.json. Thresholds are tightened: the defaults of both
# packages stop in the fifth digit.
suppressMessages({library(metafor); library(lme4); library(jsonlite)})

sets <- list(
  eleven = list(
    x = c(3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4),
    n = c(5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8),
    year = 2010:2020,
    group = c("a", "a", "b", "b", "b", "c", "c", "a", "b", "c", "a"),
    trial = c(1, 1, 2, 3, 3, 4, 5, 6, 6, 6, 7)),
  sparse = list(
    x = c(0, 1, 0, 3, 2, 5, 9, 1),
    n = c(12, 20, 9, 14, 30, 8, 40, 25),
    year = c(3, 1, 4, 1, 5, 9, 2, 6),
    group = c("p", "q", "p", "q", "q", "p", "q", "p"),
    trial = c(1, 2, 2, 3, 4, 5, 5, 6)),
  uneven = list(
    x = c(28, 3, 45, 60, 7, 9, 110, 30, 4),
    n = c(31, 9, 80, 61, 7, 30, 160, 33, 18),
    year = c(0.5, 1.25, 2, 0.1, 0.7, 3, 1.5, 0.2, 2.2),
    group = c("u", "v", "v", "u", "u", "v", "v", "u", "v"),
    trial = c("s", "s", "t", "t", "w", "w", "x", "y", "z")))

tight <- list(threshold = 1e-13, maxiter = 2000, tol = 1e-13)
num <- function(z) unname(as.numeric(z))

linear <- function(d, method, test, mods) {
  es <- escalc(measure = "PLO", xi = d$x, ni = d$n)
  es$year <- d$year; es$group <- d$group
  f <- rma(yi, vi, mods = mods, data = es, method = method, test = test, control = tight)
  out <- list(beta = num(f$beta), se = num(f$se), stat = num(f$zval), p = num(f$pval),
    low = num(f$ci.lb), high = num(f$ci.ub), qm = f$QM, qmp = f$QMp, qe = f$QE, qep = f$QEp,
    tau2 = f$tau2, i2 = f$I2, h2 = f$H2, r2 = f$R2, ll = num(logLik(f)))
  if (method == "REML" && test == "z") {
    ci <- confint(f, control = list(tol = 1e-13, maxiter = 2000))
    out$tau2_ci <- num(ci$random[1, 2:3])
  }
  out
}

binomial_fit <- function(d, formula) {
  data <- data.frame(x = d$x, n = d$n, year = d$year - mean(d$year), group = d$group,
    id = factor(seq_along(d$x)))
  f <- suppressMessages(suppressWarnings(glmer(formula, data = data, family = binomial, nAGQ = 25,
    control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5),
      tolPwrss = 1e-13, calc.derivs = FALSE))))
  list(beta = num(fixef(f)), tau2 = num(VarCorr(f)$id[1, 1]), ll = num(logLik(f)),
    center = mean(d$year))
}

influence_values <- function(d, method, test) {
  es <- escalc(measure = "PLO", xi = d$x, ni = d$n)
  f <- rma(yi, vi, data = es, method = method, test = test, control = tight)
  i <- influence(f)$inf
  b <- baujat(f)
  l <- leave1out(f)
  cu <- cumul(f, order = d$year)
  list(rstudent = num(i$rstudent), dffits = num(i$dffits), cook = num(i$cook.d),
    cov_r = num(i$cov.r), tau2_del = num(i$tau2.del), qe_del = num(i$QE.del), hat = num(i$hat),
    weight = num(i$weight), dfbeta = num(influence(f)$dfbs[[1]]),
    baujat_x = num(b$x), baujat_y = num(b$y),
    loo_estimate = num(l$estimate), loo_se = num(l$se), loo_low = num(l$ci.lb),
    loo_high = num(l$ci.ub), loo_q = num(l$Q), loo_tau2 = num(l$tau2), loo_i2 = num(l$I2),
    cum_estimate = num(cu$estimate), cum_se = num(cu$se), cum_low = num(cu$ci.lb),
    cum_high = num(cu$ci.ub), cum_tau2 = num(cu$tau2), standard = num(rstandard(f)$z))
}

cluster_values <- function(d, method) {
  es <- escalc(measure = "PLO", xi = d$x, ni = d$n)
  f <- rma(yi, vi, data = es, method = method, control = tight)
  one <- robust(f, cluster = d$trial, adjust = TRUE)
  zero <- robust(f, cluster = d$trial, adjust = FALSE)
  list(cr1_se = one$se, cr1_low = one$ci.lb, cr1_high = one$ci.ub, cr1_p = one$pval,
    cr0_se = zero$se, cr0_low = zero$ci.lb, cr0_high = zero$ci.ub, df = one$dfs)
}

pdf(NULL)
out <- list()
for (name in names(sets)) {
  d <- sets[[name]]
  e <- list(data = d)
  for (m in c("FE", "DL", "PM", "EB", "REML", "ML", "HE", "SJ", "HS")) {
    for (t in c("z", "t", "knha", "adhoc")) {
      key <- paste(m, t, sep = "_")
      e$both[[key]] <- linear(d, m, t, ~ year + group)
    }
    e$group[[m]] <- linear(d, m, "z", ~ group)
    e$year[[m]] <- linear(d, m, "z", ~ year)
  }
  e$glmm$year <- binomial_fit(d, cbind(x, n - x) ~ year + (1 | id))
  e$glmm$group <- binomial_fit(d, cbind(x, n - x) ~ group + (1 | id))
  e$glmm$both <- binomial_fit(d, cbind(x, n - x) ~ year + group + (1 | id))
  for (m in c("REML", "DL", "FE")) e$influence[[m]] <- influence_values(d, m, "z")
  e$influence$REML_knha <- influence_values(d, "REML", "knha")
  for (m in c("REML", "DL", "FE")) e$cluster[[m]] <- cluster_values(d, m)
  out[[name]] <- e
}
# all orders of eight trials are 40320, of the factor alone 70: the latter is exact
d <- sets$sparse
es <- escalc(measure = "PLO", xi = d$x, ni = d$n)
f <- rma(yi, vi, mods = ~ factor(d$group), data = es, method = "DL")
set.seed(1)
p <- permutest(f, exact = TRUE, progbar = FALSE)
out$permutation <- list(p = num(p$pval), qmp = num(p$QMp), iterations = p$X.iter)
out$versions <- list(R = R.version.string, metafor = as.character(packageVersion("metafor")),
  lme4 = as.character(packageVersion("lme4")))
write(toJSON(out, digits = NA, auto_unbox = TRUE, pretty = 1),
  "tests/reference/reference_extras.json")
