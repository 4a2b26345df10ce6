# R side of bench_pooling.py: reads the same data sets, times each method per fit, writes JSON.
# Arguments: data.csv (set, x, n), number of data sets for the GLMMs, for the profile, for REML,
# the file to write, and how often each task is repeated (the least time counts).
args <- commandArgs(trailingOnly = TRUE)
suppressMessages({library(metafor); library(lme4); library(jsonlite)})
d <- split(read.csv(args[1]), read.csv(args[1])$set)
quiet <- function(e) suppressMessages(suppressWarnings(e))
fails <- list(rma_glmm = 0, glmer = 0, glmer_profile = 0, rma_reml = 0)

v <- NULL
repeats <- as.integer(args[6])
least <- function(f) min(vapply(seq_len(repeats), function(r) {
  sum(system.time(f(), gcFirst = FALSE)[c("user.self", "sys.self")])
}, 0))

time_each <- function(name, count, f) {
  seconds <- rep(NA_real_, count)
  values <- vector("list", count)
  for (i in seq_len(count)) {
    seconds[i] <- least(function() v <<- try(quiet(f(d[[i]])), silent = TRUE))
    if (inherits(v, "try-error")) fails[[name]] <<- fails[[name]] + 1 else values[[i]] <- v
  }
  list(seconds = seconds, values = values)
}

one_glmer <- function(s) glmer(cbind(x, n - x) ~ 1 + (1 | id),
  data = transform(s, id = factor(seq_along(x))), family = binomial, nAGQ = 25)

m <- as.integer(args[2]); mp <- as.integer(args[3]); mr <- as.integer(args[4])
one_glmer(d[[1]]); quiet(rma.glmm(measure = "PLO", xi = d[[1]]$x, ni = d[[1]]$n))  # warm up

glmm <- time_each("rma_glmm", m, function(s) {
  f <- rma.glmm(measure = "PLO", xi = s$x, ni = s$n)
  c(f$beta[1], f$tau2)
})
lme <- time_each("glmer", m, function(s) {
  f <- one_glmer(s)
  c(fixef(f)[[1]], VarCorr(f)$id[1, 1])
})
fits <- lapply(d[seq_len(mp)], function(s) quiet(one_glmer(s)))
profile <- rep(NA_real_, mp)
for (i in seq_len(mp)) {
  profile[i] <- least(function() v <<- try(quiet(confint(fits[[i]], method = "profile",
    quiet = TRUE)), silent = TRUE))
  if (inherits(v, "try-error")) fails$glmer_profile <- fails$glmer_profile + 1
}
# system.time has milliseconds, so the fast one is timed as a whole
reml_all <- least(function() for (s in d[seq_len(mr)]) {
  v <- try(quiet(rma(measure = "PLO", xi = s$x, ni = s$n, method = "REML", test = "knha")),
    silent = TRUE)
  if (inherits(v, "try-error")) fails$rma_reml <<- fails$rma_reml + 1
})

pick <- function(r, j) vapply(r$values, function(v) if (is.null(v)) NA_real_ else v[j], 0)
write(toJSON(list(
  seconds = list(rma_glmm = median(glmm$seconds), glmer = median(lme$seconds),
    glmer_profile = median(profile), rma_reml = reml_all / mr),
  count = list(rma_glmm = m, glmer = m, glmer_profile = mp, rma_reml = mr),
  fails = fails,
  estimates = list(rma_glmm = list(mu = pick(glmm, 1), tau2 = pick(glmm, 2)),
    glmer = list(mu = pick(lme, 1), tau2 = pick(lme, 2))),
  versions = list(R = paste(R.version$major, R.version$minor, sep = "."),
    metafor = as.character(packageVersion("metafor")), lme4 = as.character(packageVersion("lme4")))
), digits = NA, auto_unbox = TRUE, na = "null"), args[5])
