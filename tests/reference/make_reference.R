# Reference values of the two-step models (metafor) and of the binomial-normal model (lme4,
# metafor) for tests/reference/datasets.csv, with thresholds far tighter than the defaults.
#
#   Rscript tests/reference/make_reference.R      (Debian: r-cran-metafor, r-cran-lme4)
#
# Writes tests/reference/metafor.csv and tests/reference/glmer.csv, one quantity per row.
suppressMessages({library(metafor); library(lme4)})
options(digits = 17, warn = 1)
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
data <- read.csv(file.path(here, "datasets.csv"))
measures <- c(logit = "PLO", log = "PLN", arcsine = "PAS", `freeman-tukey` = "PFT", raw = "PR")
methods <- c(fe = "EE", dl = "DL", pm = "PM", reml = "REML", ml = "ML", eb = "EB", he = "HE",
             sj = "SJ", hs = "HS")
tests <- c(wald = "z", t = "t", `hartung-knapp` = "knha", `hartung-knapp-adhoc` = "adhoc")
rows <- list()
put <- function(dataset, model, transform, interval, values) {
  values <- values[is.finite(values)]
  if (length(values)) rows[[length(rows) + 1]] <<- data.frame(
    dataset = dataset, model = model, transform = transform, interval = interval,
    quantity = names(values), value = sprintf("%.16g", values))
}
# Tight thresholds; a few sets need half steps or a start of their own.
fit <- function(yi, vi, method, test) {
  for (control in list(
    list(threshold = 1e-14, maxiter = 100000, tol = 1e-14),
    list(threshold = 1e-14, maxiter = 100000, tol = 1e-14, stepadj = 0.5),
    list(threshold = 1e-12, maxiter = 100000, tol = 1e-12, tau2.max = 1e5),
    list(threshold = 1e-10, maxiter = 100000, tol = 1e-12, stepadj = 0.25))) {
    out <- tryCatch(rma.uni(yi, vi, method = method, test = test, control = control),
                    error = function(e) NULL)
    if (!is.null(out)) return(out)
  }
  NULL
}
for (name in unique(data$dataset)) {
  d <- data[data$dataset == name, ]
  for (tr in names(measures)) {
    es <- escalc(measure = measures[[tr]], xi = d$events, ni = d$total)
    yi <- as.numeric(es$yi); vi <- as.numeric(es$vi)
    put(name, "effect-size", tr, "", c(setNames(yi, paste0("y", seq_along(yi))),
                                       setNames(vi, paste0("v", seq_along(vi)))))
    some <- if (tr == "logit") names(methods) else c("fe", "dl", "reml")
    for (m in some) for (te in names(tests)) {
      if (tr != "logit" && te %in% c("t", "hartung-knapp-adhoc")) next
      r <- suppressWarnings(fit(yi, vi, methods[[m]], tests[[te]]))
      if (is.null(r)) next
      p <- predict(r)
      values <- c(mu = as.numeric(r$beta), se = r$se, ci_low = r$ci.lb, ci_high = r$ci.ub)
      if (te == "wald") {
        values <- c(values, tau2 = r$tau2, q = r$QE, q_p = r$QEp, i2 = r$I2, h2 = r$H2,
                    log_likelihood = as.numeric(logLik(r)), aic = as.numeric(AIC(r)))
        if (m != "fe") {
          ci <- tryCatch(suppressWarnings(confint(r, control = list(tol = 1e-14, maxiter = 1e5, tau2.max = 1e7))),
                         error = function(e) NULL)
          if (m == "dl" && !is.null(ci)) values <- c(values,
            tau2_low = ci$random[1, 2], tau2_high = ci$random[1, 3])
          values <- c(values, pi_low_normal = p$pi.lb, pi_high_normal = p$pi.ub)
        }
      } else if (m != "fe") values <- c(values, pi_low = p$pi.lb, pi_high = p$pi.ub)
      put(name, m, tr, te, values)
    }
  }
  if (name == "metafor_ipft5") {
    es <- escalc(measure = "PFT", xi = d$events, ni = d$total)
    r <- rma(yi, vi, data = es, method = "EE")
    b <- predict(r, transf = transf.ipft.hm, targs = list(ni = d$total))
    put(name, "fe", "freeman-tukey", "wald", c(p_harmonic = b$pred, p_harmonic_low = b$ci.lb,
                                               p_harmonic_high = b$ci.ub))
  }
}
write.csv(do.call(rbind, rows), file.path(here, "metafor.csv"), row.names = FALSE, quote = FALSE)

rows <- list()
for (name in unique(data$dataset)) {
  d <- data[data$dataset == name, ]
  d$id <- seq_len(nrow(d))
  r <- tryCatch(suppressWarnings(suppressMessages(
    rma.glmm(measure = "PLO", xi = events, ni = total, data = d))), error = function(e) NULL)
  if (!is.null(r)) put(name, "rma.glmm", "logit", "wald", c(
    mu = as.numeric(r$beta), se = r$se, tau2 = r$tau2, ci_low = r$ci.lb, ci_high = r$ci.ub,
    i2 = r$I2, h2 = r$H2, q = r$QE.LRT, q_p = r$QEp.LRT))
  g <- tryCatch(suppressWarnings(suppressMessages(glmer(
    cbind(events, total - events) ~ 1 + (1 | id), data = d, family = binomial, nAGQ = 25,
    control = glmerControl(optimizer = "bobyqa", tolPwrss = 1e-13,
      optCtrl = list(rhoend = 1e-12, rhobeg = 1e-3, maxfun = 1e6))))), error = function(e) NULL)
  if (!is.null(g)) {
    ll <- as.numeric(logLik(g))
    put(name, "glmer", "logit", "wald", c(
      mu = as.numeric(fixef(g)), se = sqrt(as.numeric(vcov(g)[1, 1])),
      tau2 = as.numeric(VarCorr(g)$id), log_likelihood = ll))
  }
}
write.csv(do.call(rbind, rows), file.path(here, "glmer.csv"), row.names = FALSE, quote = FALSE)
cat("metafor", as.character(packageVersion("metafor")), "lme4",
    as.character(packageVersion("lme4")), R.version.string, "\n",
    file = file.path(here, "versions.txt"))
