# Reference values for the comparison of diseases: complete response by disease, and severe cytokine
# release syndrome by disease and grading scale, with the counts of data version 1.1.0.
# Run from the root of the repository:  Rscript tests/reference/make_diseases.R
# Writes tests/reference/diseases.json. Thresholds are tightened: the defaults of both packages stop
# in the fifth digit.
suppressMessages({library(metafor); library(lme4); library(jsonlite)})

complete <- data.frame(
  x = c(0, 4, 4, 5, 9, 16, 27, 28, 40, 45, 44, 28, 37, 136, 59, 39, 15),
  n = c(8, 14, 19, 8, 32, 87, 30, 30, 45, 75, 53, 41, 93, 256, 101, 57, 33),
  group = rep(c("CLL", "B-ALL", "Large B-cell lymphoma", "Myeloma (BCMA)"), c(6, 6, 3, 2)))
severe <- data.frame(
  x = c(6, 2, 7, 35, 13, 24, 5, 12, 10, 6, 4, 8, 2),
  n = c(14, 24, 30, 75, 45, 111, 268, 108, 68, 16, 57, 25, 33),
  group = rep(c("CLL", "B-ALL", "Large B-cell lymphoma", "Mantle cell lymphoma", "Myeloma (BCMA)"),
    c(2, 3, 3, 1, 4)),
  scale = c("Penn", "Lee 2014", "Lee 2014", "Penn", "Lee 2014", "Penn", "Lee 2014", "Lee 2014",
    "Lee 2014", "Lee 2014", "Lee 2014", "Penn", "Lee 2014"))

num <- function(z) unname(as.numeric(z))
tight <- list(threshold = 1e-13, maxiter = 2000)

binomial_fit <- function(d, formula) {
  d$id <- factor(seq_along(d$x))
  d$group <- relevel(factor(d$group), "CLL")
  f <- glmer(formula, data = d, family = binomial, nAGQ = 25,
    control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5),
      tolPwrss = 1e-13))
  list(names = names(fixef(f)), beta = num(fixef(f)), se = num(sqrt(diag(vcov(f, use.hessian = TRUE)))),
    tau2 = num(VarCorr(f)$id[1, 1]))
}

normal_fit <- function(d) {
  d$group <- relevel(factor(d$group), "CLL")
  f <- rma(measure = "PLO", xi = d$x, ni = d$n, mods = ~ group, data = d, method = "REML",
    test = "adhoc", control = tight)
  list(names = rownames(f$beta), beta = num(f$beta), low = num(f$ci.lb), high = num(f$ci.ub),
    tau2 = f$tau2, f_statistic = f$QM, p = f$QMp, df = c(f$m, f$dfs))
}

out <- list(
  complete = list(data = as.list(complete), glmer = binomial_fit(complete, cbind(x, n - x) ~ group + (1 | id)),
    reml = normal_fit(complete)),
  severe = list(data = as.list(severe),
    glmer = binomial_fit(severe, cbind(x, n - x) ~ group + scale + (1 | id))),
  versions = list(R = R.version.string, metafor = as.character(packageVersion("metafor")),
    lme4 = as.character(packageVersion("lme4"))))
write(toJSON(out, digits = NA, auto_unbox = TRUE, pretty = 1), "tests/reference/diseases.json")
