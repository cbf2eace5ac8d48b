# Fuzz targets: fuzz-NAME.c defines LLVMFuzzerTestOneInput(). With --enable-fuzz it is linked with
# libFuzzer; otherwise with replay.c, and "make check" plays tests/fuzz/corpus/NAME through it.
