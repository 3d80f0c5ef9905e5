module leveret/interop/monitors

go 1.21
