// SPDX-License-Identifier: Apache-2.0
// Shipped with the scanner: the standard test file, and a few things that no release should carry. This small set shows that
// scanning works; it does not replace a maintained virus database (clamd) or your own rules beside it.

rule eicar_test_file
{
    meta:
        description = "the EICAR anti-malware test file"
    strings:
        // Written as bytes, so that this file is not itself a find.
        $eicar = { 58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D 24
                   45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 2D 54 45 53 54 2D 46 49 4C 45 21 }
    condition:
        $eicar
}

rule credential_dumper
{
    meta:
        description = "command names of a well known dumper of Windows credentials"
    strings:
        $a = "sekurlsa::logonpasswords" ascii wide nocase
        $b = "lsadump::sam" ascii wide nocase
        $c = "kerberos::golden" ascii wide nocase
        $d = "privilege::debug" ascii wide nocase
    condition:
        3 of them
}

rule php_command_shell
{
    meta:
        description = "a PHP page that runs what a visitor sends"
    strings:
        $php = "<?php" nocase
        $run = /(eval|assert|system|passthru|shell_exec)\s*\(\s*(base64_decode\s*\(\s*)?\$_(POST|GET|REQUEST|COOKIE)\s*\[/ nocase
    condition:
        filesize < 1MB and $php and $run
}

rule powershell_download_and_run
{
    meta:
        description = "PowerShell started hidden that runs what it downloads"
    strings:
        $start = /powershell(\.exe)?\s[^\r\n]{0,80}-w(indowstyle)?\s+hidden/ ascii wide nocase
        $fetch = /(DownloadString|DownloadData|Invoke-WebRequest)\s*\(?/ ascii wide nocase
        $run = /(IEX|Invoke-Expression)[\s(]/ ascii wide nocase
    condition:
        filesize < 8MB and all of them
}

rule shell_script_with_reverse_shell
{
    meta:
        description = "a shell script that ties an interactive shell to a network address"
    strings:
        $tie = /(ba|z)?sh\s+-i\s*>&?\s*\/dev\/tcp\/[0-9a-zA-Z.-]+\/[0-9]+\s+0>&1/
    condition:
        filesize < 1MB and uint16(0) == 0x2123 and $tie
}

rule coin_miner
{
    meta:
        description = "settings of a well known coin miner"
    strings:
        $pool = "stratum+tcp://"
        $a = "donate-level"
        $b = "cryptonight" nocase
        $c = "randomx" nocase
        $d = "nicehash" nocase
    condition:
        $pool and 3 of ($a, $b, $c, $d)
}
