#!/usr/bin/env node
import '../dist/tartan/main.js';
