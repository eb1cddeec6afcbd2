// Outside verifiers that scripts/build-peers builds for `make interop`; go.sum pins every module by its hash.
module signwright.invalid/peers

go 1.22.0

require github.com/sassoftware/relic/v8 v8.2.0
